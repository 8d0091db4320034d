"""Causal language modelling: predict each token from those before it (Radford et al. 2018, section 3.1)."""

import dataclasses

import jax.numpy as jnp

from cloze.objectives.base import (
    Objective,
    check_length,
    check_loss_options,
    check_packing,
    check_positions,
    check_special_tokens,
    padding,
)
from cloze.objectives.losses import token_terms


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CausalLM(Objective):
    """The next token of every position, never across documents that are packed side by side.

    Attributes:
        label_smoothing, z_loss: see `objectives.losses.cross_entropy`.
    """

    architectures = ("decoder", "recurrent")
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads rows of one token more than the model sees: the last one is only ever a target."""
        check_loss_options(config)
        check_length(config, 1)
        # The model learns where a text ends from this token, and generation stops at it.
        advice = "use tokenizer.kind=byte_bpe, bpe, word, unigram or sentencepiece_bpe"
        check_special_tokens(config, tables, ("eos",), advice)
        check_positions(model_config, config.data.sequence_length, "data.sequence_length")
        return cls(
            rows=check_packing(config, ("windows", "documents"))(
                length=config.data.sequence_length + 1,
                document_end=tables.eos,
                pad=padding(tables, tables.eos),
            ),
            outputs=("lm",),
            label_smoothing=config.objective.label_smoothing,
            z_loss=config.objective.z_loss,
        )

    def corrupt_row(self, key, row):
        """Shifts: `tokens`, `targets`, `target_weights` [T], and `segments`, `positions` where the row has them."""
        del key  # nothing is drawn
        tokens_R = row["tokens"]
        batch = {"tokens": tokens_R[:-1], "targets": tokens_R[1:]}
        if "segments" in row:
            segments_R = row["segments"]
            batch["segments"] = segments_R[:-1]
            scored = (segments_R[1:] == segments_R[:-1]) & (segments_R[:-1] > 0)
            batch["target_weights"] = scored.astype(jnp.float32)
        else:
            batch["target_weights"] = jnp.ones(tokens_R.shape[0] - 1, jnp.float32)
        if "positions" in row:
            batch["positions"] = row["positions"][:-1]
        return batch

    def loss(self, outputs, batch):
        """Terms "loss" (nats a token) and "accuracy"."""
        return token_terms(outputs, batch, label_smoothing=self.label_smoothing, z_loss=self.z_loss)
