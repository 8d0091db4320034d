"""Salient span masking: names, dates and numbers become sentinels (Guu et al. 2020, section 3.4; Roberts et al. 2020).

What is salient is found when the corpus is prepared, see `data.entities`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives.base import check_length, check_packing, check_special_tokens
from cloze.objectives.masking import draw_entities, text_runs
from cloze.objectives.sentinels import TOKENIZER_ADVICE, fitting, sentinel_pair
from cloze.objectives.text_to_text import TextToText, layout, room_for_targets, text_length


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SalientSpans(TextToText):
    """One name, date or number of each sentence becomes a sentinel, and the targets are each after its sentinel.

    The originals read one sentence a row; here a row has many, and one is drawn of each that has any. A row with none
    keeps all its tokens and is not scored. What the buffer of targets (half the inputs unless data.target_length says
    otherwise) or the tokenizer's sentinels have no room for is kept, the last of a row first. What a window or a
    special token cuts a name into are several.

    Attributes:
        special: bool [V], ids that are never hidden.
        eos: id that ends inputs and targets.
        sentinels: int32 [n], ids in order of appearance.
        final_sentinel: one more sentinel closes the targets.
    """

    special: Any
    eos: int
    sentinels: Any
    final_sentinel: bool

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows, or rows of sentences, with flags, of one token less than data.sequence_length."""
        inputs_length = config.data.sequence_length
        final = config.objective.final_sentinel
        check_length(config, 6)
        check_special_tokens(config, tables, ("eos", "pad"), TOKENIZER_ADVICE)
        if len(tables.sentinels) < 1 + final:
            raise ConfigError(
                f"objective.name=salient_spans needs sentinels, the tokenizer has {len(tables.sentinels)}: "
                f"{TOKENIZER_ADVICE}"
            )
        packing = check_packing(config, ("windows", "sentences"))
        room_for_targets(config, 3 + final)  # a sentinel, a token and the end
        targets_length = inputs_length // 2 if config.data.target_length is None else config.data.target_length
        return cls(
            rows=packing(length=inputs_length - 1, pad=tables.pad, flags=True, entities=True),
            special=np.asarray(tables.special, bool),
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels, np.int32),
            final_sentinel=final,
            **layout(config, tables, model_config, inputs_length=inputs_length, targets_length=targets_length),
        )

    def salient(self, key, row):
        """bool [R], the tokens of the span that was drawn of each sentence."""
        run_R = text_runs(row["tokens"], row.get("segments"), self.special)
        return draw_entities(key, row["flags"], run_R) < run_R.shape[0]

    def pair_row(self, key, row):
        """Hides one span of each sentence."""
        most = len(self.sentinels) - self.final_sentinel
        hidden_R = fitting(self.salient(key, row), most, self.targets_length - 1 - self.final_sentinel)
        pair = sentinel_pair(
            row["tokens"],
            hidden_R,
            text_length(row),
            sentinels=self.sentinels,
            eos=self.eos,
            pad=self.rows.pad,
            final_sentinel=self.final_sentinel,
            inputs_length=self.inputs_length,
            targets_length=self.targets_length,
        )
        return pair._replace(targets_count=jnp.where(jnp.any(hidden_R), pair.targets_count, 0))
