"""What stands on top of a stack: vocabulary heads, the pooler and classifiers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models import axes
from models.initializers import initializer, padded_rows
from models.layers import ACTIVATIONS, Linear, Norm


def gather(hidden_BTD, positions_BP):
    """The hidden states at P positions of each row, [B, P, D]."""
    return jnp.take_along_axis(hidden_BTD, positions_BP[:, :, None], axis=1)


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: the token table reused, or a matrix of its own."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BTD, token_table):
        """f32 [B, T, V]; padding rows of the vocabulary are cut off."""
        c = self.config
        if c.tie_embeddings:
            if c.scale_tied_logits:
                hidden_BTD = hidden_BTD * c.width**-0.5
            logits = token_table.logits(hidden_BTD, c.dtype)
        else:
            padding = c.padded_vocab - c.vocab_size

            def init(key, shape, dtype=jnp.float32):
                return padded_rows(initializer(c, "head"), c.vocab_size)(key, shape[::-1], dtype).T

            kernel = self.param(
                "kernel",
                nn.with_logical_partitioning(init if padding else initializer(c, "head"), (axes.EMBED, axes.VOCAB)),
                (c.width, c.padded_vocab),
                jnp.float32,
            )
            logits = jnp.einsum(
                "BTD,DV->BTV",
                hidden_BTD.astype(c.dtype),
                kernel.astype(c.dtype),
                preferred_element_type=jnp.float32,
            )
        logits = axes.constrain(logits, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)
        return logits[..., : c.vocab_size]


class MaskedHead(nn.Module):
    """BERT's vocabulary head: dense, activation and norm before the tied table, and a bias over the vocabulary."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BPD, token_table):
        """f32 [B, P, V]."""
        c = self.config
        init = initializer(c, "head")
        x_BPD = Linear(c.width, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="dense")(hidden_BPD)
        x_BPD = Norm(c, name="norm")(ACTIVATIONS[c.activation](x_BPD))
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, (axes.VOCAB,))
        bias = self.param("bias", bias_init, (c.padded_vocab,), jnp.float32)
        logits = VocabularyHead(c, name="vocabulary")(x_BPD, token_table)
        return logits + bias[: c.vocab_size]


class Pooler(nn.Module):
    """tanh(dense) of the first token's state."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BTD):
        """[B, D]."""
        c = self.config
        dense = Linear(c.width, (axes.EMBED, axes.SMALL), initializer(c, "head"), True, c.dtype, name="dense")
        return jnp.tanh(dense(hidden_BTD[:, 0]))
