"""Salient span masking: names, dates and numbers become sentinels (Guu et al. 2020, section 3.4; Roberts et al. 2020).

What is salient is found when the corpus is prepared, see `data.entities`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from errors import ConfigError
from objectives.base import Rows, check_length, check_packing, check_special_tokens
from objectives.masking import ENTITY, ENTITY_START, SENTENCE_END
from objectives.sentinels import TOKENIZER_ADVICE, fitting, sentinel_pair
from objectives.text_to_text import TextToText, layout, room_for_targets, text_length


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SalientSpans(TextToText):
    """One name, date or number of each sentence becomes a sentinel, and the targets are each after its sentinel.

    The originals read one sentence a row; here a row has many, and one is drawn of each that has any. A row with none
    keeps all its tokens and is not scored. What the buffer of targets (half the inputs unless data.target_length says
    otherwise) or the tokenizer's sentinels have no room for is kept, the last of a row first. Text that a window cuts
    off before its first token is not hidden.

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
            rows=Rows(packing, inputs_length - 1, pad=tables.pad, flags=True, entities=True),
            special=np.asarray(tables.special, bool),
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels, np.int32),
            final_sentinel=final,
            **layout(config, tables, model_config, inputs_length=inputs_length, targets_length=targets_length),
        )

    def salient(self, key, row):
        """bool [R], the tokens of the span that was drawn of each sentence."""
        tokens_R, flags_R = row["tokens"], row["flags"]
        size = tokens_R.shape[0]
        text_R = (jnp.arange(size) < text_length(row)) & ~jnp.asarray(self.special)[tokens_R]
        starts_R = text_R & (flags_R & ENTITY_START > 0)
        ends_R = flags_R & SENTENCE_END
        sentence_R = jnp.cumsum(ends_R) - ends_R
        # Sorting by a random score and then by sentence puts the span that is drawn first in each sentence.
        scores_R = jnp.where(starts_R, jax.random.uniform(key, (size,)), 2.0)
        order_R = jnp.lexsort((scores_R, sentence_R))
        first_R = sentence_R[order_R] != jnp.roll(sentence_R[order_R], 1)
        first_R = first_R.at[0].set(True)
        drawn_R = jnp.zeros(size, bool).at[order_R].set(first_R) & starts_R
        # A span's tokens learn from its first whether it was drawn.
        span_R = jnp.cumsum(starts_R)
        drawn_spans = jnp.zeros(size + 1, bool).at[jnp.where(starts_R, span_R, size + 1)].set(drawn_R, mode="drop")
        return drawn_spans[span_R] & text_R & (flags_R & (ENTITY | ENTITY_START) > 0)

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
