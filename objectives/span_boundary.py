"""Masked spans, each of whose tokens is also predicted from the two tokens beside the span (Joshi et al. 2020, 3.2)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from cloze.models.heads.sbo import BOUNDARY_POSITIONS
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.masked_lm import MaskedLM
from cloze.objectives.masking import text_runs
from cloze.options import option


@OBJECTIVES.register("span_boundary")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SpanBoundary(MaskedLM):
    """SpanBERT: `MaskedLM` with spans, and a second loss over the same tokens from the ends of their span.

    Spans that touch are one span, so that the tokens beside it are never hidden. A span that begins or ends where its
    text does, at a special token, at padding, at another packed segment or at the row's edge, has no two such tokens
    and counts in the first loss only, and so do tokens far from a span's beginning: the released code scores the first
    15 of a span.
    """

    masking: ClassVar[str] = "spans"
    longest_ngram: ClassVar[int] = 1
    boundary_weight: float = option(1.0, "coefficient of predicting spans from the tokens beside them", least=0)
    boundary_targets: int = option(
        15, "tokens of a span that are predicted so, from its beginning", least=1, most=BOUNDARY_POSITIONS
    )

    @property
    def outputs(self):
        """Those of `MaskedLM`, and the head "sbo"."""
        return (*super().outputs, "sbo")

    def corrupt_row(self, key, row):
        """The batch of `MaskedLM`, and `span_left`, `span_right`, `span_offsets` int32, `boundary_weights` f32 [P]."""
        batch = super().corrupt_row(key, row)
        run_R = text_runs(row["tokens"], row.get("segments"), self.special)
        positions_P, used_P = batch["prediction_positions"], batch["target_weights"] > 0
        length = run_R.shape[0]
        hidden_R = jnp.zeros(length, bool).at[jnp.where(used_P, positions_P, length)].set(True, mode="drop")
        # Within its run, the nearest visible place on either side of a hidden one is that beside its span.
        place_R = jnp.arange(length)
        left_R = jax.lax.cummax(jnp.where(hidden_R, -1, place_R))
        right_R = jax.lax.cummin(jnp.where(hidden_R, length, place_R), reverse=True)
        left_P, right_P, run_P = left_R[positions_P], right_R[positions_P], run_R[positions_P]
        padded_R = jnp.pad(run_R, 1)  # beyond the row there is no run
        beside_P = (padded_R[left_P + 1] == run_P) & (padded_R[right_P + 1] == run_P)
        offsets_P = positions_P - left_P - 1
        scored_P = used_P & beside_P & (offsets_P < self.boundary_targets)
        return batch | {
            "span_left": jnp.where(scored_P, left_P, 0),
            "span_right": jnp.where(scored_P, right_P, 0),
            "span_offsets": jnp.where(scored_P, offsets_P, 0),
            "boundary_weights": scored_P.astype(jnp.float32),
        }

    def loss(self, outputs, batch):
        """The terms of `MaskedLM`, and "sbo" and "sbo_accuracy" over hidden tokens whose span has two neighbours."""
        names = ("sbo", "sbo_accuracy")
        terms = self.token_terms(outputs.over_vocabulary("sbo"), batch["targets"], batch["boundary_weights"], names)
        terms["sbo"] = terms["sbo"]._replace(coefficient=self.boundary_weight)
        return super().loss(outputs, batch) | terms
