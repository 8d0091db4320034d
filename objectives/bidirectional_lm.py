"""Language modelling in both directions at once (Peters et al. 2018, "Deep contextualized word representations", 3.1).

One direction predicts each token from those before it, the other from those behind it.
"""

import dataclasses

import jax.numpy as jnp

from cloze.objectives.base import OBJECTIVES
from cloze.objectives.losses import TokenLoss


@OBJECTIVES.register("bidirectional_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class BidirectionalLM(TokenLoss):
    """The next and the previous token of every position, never across documents that are packed side by side.

    Knowing nothing but the frequencies of tokens gives either direction the unigram entropy.

    Attributes:
        eos_id: id that ends a document.
    """

    architectures = ("bidirectional_recurrent",)
    packings = ("windows", "documents")
    special_tokens = ("eos",)
    advice = "use tokenizer.kind=word, byte_bpe, bpe, unigram or sentencepiece_bpe"
    shortest = 2
    eos_id: int | None = None

    @property
    def rows(self):
        """Windows or documents, each of which ends with the token that ends texts."""
        return self.packed(length=self.length, document_end=self.eos_id)

    def corrupt_row(self, key, row):
        """The row, and `targets`, `backward_targets` int32 and `target_weights`, `backward_weights` f32 [T]."""
        del key  # nothing is drawn
        tokens_R = row["tokens"]
        zero = jnp.zeros(1, tokens_R.dtype)
        if "segments" in row:
            segments_R = row["segments"]
            together = (segments_R[1:] == segments_R[:-1]) & (segments_R[1:] > 0)
        else:
            together = jnp.ones(tokens_R.shape[0] - 1, bool)
        together = together.astype(jnp.float32)
        none = jnp.zeros(1, jnp.float32)
        batch = {name: row[name] for name in ("segments", "positions") if name in row}
        return batch | {
            "tokens": tokens_R,
            "targets": jnp.concatenate([tokens_R[1:], zero]),
            "target_weights": jnp.concatenate([together, none]),
            "backward_targets": jnp.concatenate([zero, tokens_R[:-1]]),
            "backward_weights": jnp.concatenate([none, together]),
        }

    def loss(self, outputs, batch):
        """Terms "forward" and "backward" (nats a token), half of each, and their accuracies."""
        forward = (outputs.over_vocabulary("lm"), batch["targets"], batch["target_weights"])
        backward = (outputs.over_vocabulary("backward_lm"), batch["backward_targets"], batch["backward_weights"])
        terms = self.token_terms(*forward, ("forward", "forward_accuracy"))
        terms |= self.token_terms(*backward, ("backward", "backward_accuracy"))
        return {name: term._replace(coefficient=0.5 * term.coefficient) for name, term in terms.items()}
