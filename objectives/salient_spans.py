"""Salient span masking: names, dates and numbers become sentinels (Guu et al. 2020, section 3.4; Roberts et al. 2020).

What is salient is found when the corpus is prepared, see `data.entities`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.masking import check_entities, draw_entities, text_runs
from cloze.objectives.sentinels import TOKENIZER_ADVICE, SentinelTargets
from cloze.objectives.text_to_text import text_length


@OBJECTIVES.register("salient_spans")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SalientSpans(SentinelTargets):
    """One name, date or number of each sentence becomes a sentinel, and the targets are each after its sentinel.

    The originals read one sentence a row; here a row has many, and one is drawn of each that has any. A row with none
    keeps all its tokens and is not scored. What the buffer of targets (half the inputs unless data.target_length says
    otherwise) or the tokenizer's sentinels have no room for is kept, the last of a row first. What a window or a
    special token cuts a name into are several.

    Attributes:
        special: bool [V], ids that are never hidden; None: there are none.
    """

    packings = ("windows", "sentences")
    shortest = 6
    special: Any = None

    @property
    def targets_needed(self):
        """Half the inputs."""
        return self.length // 2

    @property
    def fewest_targets(self):
        """A sentinel, a token and the end."""
        return 3 + self.final_sentinel

    @property
    def rows(self):
        """Rows with flags, of one token less than data.sequence_length."""
        return self.packed(length=self.length - 1, flags=True, entities=True)

    def check_fit(self, config, tables, model_config):
        """There must be a sentinel."""
        super().check_fit(config, tables, model_config)
        if len(self.sentinels) < 1 + self.final_sentinel:
            raise ConfigError(
                f"objective.name=salient_spans needs sentinels, the tokenizer has {len(self.sentinels)}: "
                f"{TOKENIZER_ADVICE}"
            )

    def check_rows(self, batches):
        """Refuses a corpus without names, dates and numbers."""
        check_entities(batches)

    def salient(self, key, row):
        """bool [R], the tokens of the span that was drawn of each sentence."""
        run_R = text_runs(row["tokens"], row.get("segments"), self.special)
        return draw_entities(key, row["flags"], run_R) < run_R.shape[0]

    def pair_row(self, key, row):
        """Hides one span of each sentence."""
        hidden_R = self.fitting(self.salient(key, row))
        pair = self.sentinel_pair(row["tokens"], hidden_R, text_length(row))
        return pair._replace(targets_count=jnp.where(jnp.any(hidden_R), pair.targets_count, 0))
