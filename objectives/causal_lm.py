"""Causal language modelling: predict each token from those before it (Radford et al. 2018, section 3.1)."""

import dataclasses

import jax.numpy as jnp

from cloze.objectives.base import OBJECTIVES
from cloze.objectives.losses import TokenLoss


@OBJECTIVES.register("causal_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CausalLM(TokenLoss):
    """The next token of every position, never across documents that are packed side by side.

    Attributes:
        eos_id: id that ends a document: a model learns from it where a text ends, and generation stops at it.
    """

    architectures = ("decoder", "recurrent")
    packings = ("windows", "documents")
    special_tokens = ("eos",)
    advice = "use tokenizer.kind=byte_bpe, bpe, word, unigram or sentencepiece_bpe"
    eos_id: int | None = None

    @property
    def rows(self):
        """Rows of one token more than the model sees: the last one is only ever a target."""
        return self.packed(length=self.length + 1, document_end=self.eos_id)

    def corrupt_row(self, key, row):
        """See `next_tokens`."""
        del key  # nothing is drawn
        return next_tokens(row)


def next_tokens(row):
    """Shifts: `tokens`, `targets`, `target_weights` [T], and `segments`, `positions` where the row has them."""
    batch = {name: row[name][:-1] for name in ("tokens", "segments", "positions") if name in row}
    scored_T = jnp.ones(batch["tokens"].shape, bool)
    if "segments" in row:
        segments_R = row["segments"]
        scored_T = (segments_R[1:] == segments_R[:-1]) & (segments_R[:-1] > 0)
    return batch | {"targets": row["tokens"][1:], "target_weights": scored_T.astype(jnp.float32)}
