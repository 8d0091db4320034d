"""UniLM: one model is trained to fill gaps in four directions (Dong et al. 2019, arXiv:1905.03197, section 2.3)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives import masking
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.masked_lm import MaskedLM
from cloze.options import option

DIRECTIONS = ("bidirectional", "sequence to sequence", "left to right", "right to left")
TOKEN_TYPES = ((0, 1), (4, 5), (2, 2), (3, 3))  # of the first and the second text, as models/families/unilm.py says


@OBJECTIVES.register("unilm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class UniLM(MaskedLM):
    """Hidden tokens of pairs of texts are predicted; a row's direction says what each token may see.

    Bidirectional rows see everything. In a row read left to right a token sees itself and what is before it, right to
    left what is behind it. Sequence to sequence, the first text sees itself, the second the first and what is before
    in the second. The directions differ in `ranks` and `token_types` alone.

    Next sentences (the terms "nsp" and "nsp_accuracy") are scored on bidirectional rows, of which half have a second
    text from elsewhere. The other directions need text that reads on. So half the bidirectional share of all rows is
    drawn with a second text from elsewhere, all of them bidirectional, and the other rows draw their direction so that
    the shares come out.

    Most hidden tokens are drawn singly; with probability `ngram_share` a draw hides a bigram, a trigram and so on.
    """

    masking: ClassVar[str] = "tokens"
    pairs: ClassVar[str] = "next_sentence"
    span_success: ClassVar[float] = 1.0
    longest_span: ClassVar[int] = 1
    static_masks: ClassVar[int] = 0  # pairs are drawn anew each epoch
    longest_ngram: int = option(3, "most tokens of an n-gram that one draw hides", least=2)
    ngram_share: float = option(
        0.2, "share of draws that hide a bigram or longer instead of one token", least=0, below=1
    )
    direction_shares: tuple[float, ...] = option(
        (1 / 3, 1 / 3, 1 / 6, 1 / 6),
        "shares of rows read bidirectionally, sequence to sequence, left to right and right to left",
        least=0,
        most=1,
    )

    def __post_init__(self):
        super().__post_init__()
        shares = np.array(self.direction_shares, np.float64)
        if shares.shape != (4,) or not ((shares >= 0).all() and shares[0] > 0) or abs(shares.sum() - 1) > 1e-6:
            raise ConfigError(
                f"objective.direction_shares={self.direction_shares} must be four shares that sum to 1, of rows "
                f"{', '.join(DIRECTIONS)}; the first, on which next sentences are scored, must be above 0"
            )

    def check_fit(self, config, tables, model_config):
        """The model needs six token types."""
        needed = 1 + max(max(types) for types in TOKEN_TYPES)
        if model_config.token_types < needed:
            raise ConfigError(
                f"objective.name=unilm tells directions apart by {needed} token types, but model.family="
                f"{config.model.family} has {model_config.token_types}: set model.family=unilm or "
                f"model.token_types={needed}"
            )
        super().check_fit(config, tables, model_config)
        if self.longest_ngram > self.length:
            raise ConfigError(
                f"objective.longest_ngram={self.longest_ngram} is longer than the row, "
                f"data.sequence_length={self.length}"
            )

    @property
    def rows(self):
        """Pairs that read on, and as many others as there are bidirectional rows with a next sentence."""
        elsewhere = float(self.direction_shares[0]) / 2
        return dataclasses.replace(super().rows, random_rate=elsewhere, two_sentences=True)

    def unit_shares(self):
        """f32 [N], shares of draws of 1 to N tokens."""
        rest = self.longest_ngram - 1
        return np.array([1 - self.ngram_share] + [self.ngram_share / rest] * rest, np.float32)

    def choose(self, key, row, run_R):
        """As `MaskedLM.choose`: BERT's budget, in draws of one token or of neighbours."""
        counts = self.counts(run_R.shape[0])
        capacity = int(counts[-1])
        count = jnp.asarray(counts)[jnp.sum(row["segments"] > 0)]
        token_R = masking.word_indices(run_R, jnp.ones_like(run_R, bool))
        hidden_R = masking.choose_spans(key, token_R, run_R, count, shares=self.unit_shares(), capacity=capacity)
        return masking.positions_of(hidden_R, capacity)

    def draw_direction(self, key, label):
        """The direction of a row, an index of DIRECTIONS; `label` 1 says that its second text is from elsewhere."""
        elsewhere = self.rows.random_rate
        # Of rows that read on: what is left of each share once those from elsewhere are all bidirectional.
        shares = (np.array(self.direction_shares) - np.array([elsewhere, 0, 0, 0])) / (1 - elsewhere)
        cumulative = jnp.asarray(np.cumsum(shares)[:-1], jnp.float32)
        drawn = jnp.sum(jax.random.uniform(key) >= cumulative)
        return jnp.where(label == 1, 0, drawn)

    def corrupt_row(self, key, row):
        """The batch of `MaskedLM` with `ranks` [T], the direction's `token_types`, and `label_weights` 0 or 1."""
        direction_key, mask_key = jax.random.split(key)
        batch = super().corrupt_row(mask_key, row)
        direction = self.draw_direction(direction_key, row["labels"])
        second_R = row["token_types"]
        place_R = jnp.arange(second_R.shape[0], dtype=jnp.int32)
        # From 1 on, so that 0 is seen by all.
        onward_R, backward_R = place_R + 1, place_R[::-1] + 1
        ranks = jnp.stack([jnp.zeros_like(place_R), onward_R * second_R, onward_R, backward_R])
        return batch | {
            "ranks": ranks[direction],
            "token_types": jnp.asarray(TOKEN_TYPES, jnp.int32)[direction, second_R],
            "label_weights": (direction == 0).astype(jnp.float32),
        }
