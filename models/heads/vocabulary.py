"""The last layer of every head over the vocabulary."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.initializers import initializer, padded_rows
from cloze.models.outputs import Padded
from cloze.models.primitives import changed, product

FIELDS = ("tie_embeddings", "scale_tied_logits", "logit_cap")


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: the token table reused, or a matrix of its own.

    With `logit_cap` c they are c * tanh(logits / c) (Gemma 2, arXiv:2408.00118, section 2).
    """

    config: Any
    use_bias: bool = False

    @nn.compact
    def __call__(self, hidden_BTD, token_table):
        """Padded logits, f32 [B, T, rows]."""
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
                (hidden_BTD.shape[-1], c.padded_vocab),
                jnp.float32,
            )
            logits = product(hidden_BTD.astype(c.dtype), kernel.astype(c.dtype), jnp.float32)
            logits = changed(self, hidden_BTD.astype(c.dtype), logits, kernel)
        if self.use_bias:
            init = nn.with_logical_partitioning(nn.initializers.zeros, (axes.VOCAB,))
            logits += self.param("bias", init, (c.padded_vocab,), jnp.float32)
        if c.logit_cap:
            logits = c.logit_cap * jnp.tanh(logits / c.logit_cap)
        logits = axes.constrain(logits, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)
        return Padded(logits, c.vocab_size)


def check_tied(config: Any) -> None:
    """Refuses a table of another width than the states that it scores."""
    if config.tie_embeddings and config.embedding_width != config.width:
        raise ConfigError(
            f"model.embedding_width={config.embedding_width} must be model.width={config.width} where the vocabulary "
            "head reuses the embeddings: set model.tie_embeddings=false, or make them equal"
        )
