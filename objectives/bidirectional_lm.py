"""Language modelling in both directions at once (Peters et al. 2018, "Deep contextualized word representations", 3.1).

One direction predicts each token from those before it, the other from those behind it.
"""

import dataclasses

import jax.numpy as jnp

from cloze.objectives.base import (
    Objective,
    check_length,
    check_loss_options,
    check_packing,
    check_special_tokens,
    padding,
)
from cloze.objectives.losses import classification_terms


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class BidirectionalLM(Objective):
    """The next and the previous token of every position, never across documents that are packed side by side.

    Knowing nothing but the frequencies of tokens gives either direction the unigram entropy.

    Attributes:
        label_smoothing, z_loss: see `objectives.losses.cross_entropy`.
    """

    architectures = ("bidirectional_recurrent",)
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows or documents; each document ends with the token that ends texts."""
        del model_config  # recurrent models have no positions that could be too few
        check_loss_options(config)
        check_length(config, 2)
        advice = "use tokenizer.kind=word, byte_bpe, bpe, unigram or sentencepiece_bpe"
        check_special_tokens(config, tables, ("eos",), advice)
        return cls(
            rows=check_packing(config, ("windows", "documents"))(
                length=config.data.sequence_length,
                document_end=tables.eos,
                pad=padding(tables, tables.eos),
            ),
            outputs=("lm",),
            label_smoothing=config.objective.label_smoothing,
            z_loss=config.objective.z_loss,
        )

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
        options = dict(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        terms = classification_terms(
            outputs.logits, batch["targets"], batch["target_weights"], ("forward", "forward_accuracy"), **options
        ) | classification_terms(
            outputs.heads["backward_lm"],
            batch["backward_targets"],
            batch["backward_weights"],
            ("backward", "backward_accuracy"),
            **options,
        )
        return {name: term._replace(coefficient=0.5 * term.coefficient) for name, term in terms.items()}
