"""From token ids to vectors."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models import axes
from models.dropout import dropout
from models.initializers import initializer, padded_rows
from models.layers import Norm
from models.positions import sinusoidal


class Table(nn.Module):
    """An embedding table [rows, D]; `padding` of its rows are zero and never used."""

    rows: int
    config: Any
    axis: str
    padding: int = 0

    def setup(self):
        init = initializer(self.config, "embedding")
        shape = (self.rows, self.config.width)
        if self.padding:
            init = padded_rows(init, self.rows - self.padding)
        self.embedding = self.param(
            "embedding", nn.with_logical_partitioning(init, (self.axis, axes.EMBED)), shape, jnp.float32
        )

    def __call__(self, ids):
        """Rows of the table, f32 [..., D]."""
        return jnp.take(self.embedding, ids, axis=0)

    def logits(self, hidden, dtype):
        """Products with all rows, f32 [..., rows], computed in `dtype` and accumulated in f32."""
        return jnp.einsum(
            "...D,VD->...V", hidden.astype(dtype), self.embedding.astype(dtype), preferred_element_type=jnp.float32
        )


class Embeddings(nn.Module):
    """Sum of token, position and token type embeddings, then norm and dropout, as the family has them.

    The token table is given from outside, because encoder, decoder and vocabulary head may share it.
    """

    config: Any

    @nn.compact
    def __call__(self, token_table, inputs, deterministic):
        """f32 or bf16 [B, T, D] from the five input arrays of `models.inputs.stream`."""
        c = self.config
        tokens = inputs["tokens"]
        positions = inputs["positions"]
        if positions is None:
            positions = jnp.arange(tokens.shape[1])[None]
        x_BTD = token_table(tokens)
        if c.positions == "learned":
            x_BTD += Table(c.max_positions, c, axes.POSITIONS, name="position")(positions)
        elif c.positions == "sinusoidal":
            x_BTD += sinusoidal(positions, c.width)
        if c.token_types:
            types = inputs["token_types"]
            table = Table(c.token_types, c, axes.SMALL, name="token_type")
            x_BTD += table(jnp.zeros((1, 1), jnp.int32) if types is None else types)
        if c.embedding_norm:
            x_BTD = Norm(c, name="norm")(x_BTD)
        x_BTD = dropout(self, x_BTD.astype(c.dtype), c.dropout, deterministic)
        return axes.constrain(x_BTD, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)
