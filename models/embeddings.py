"""From token ids to vectors."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer, padded_rows
from cloze.models.primitives import Linear, Norm, product_with_rows


class Table(nn.Module):
    """An embedding table [rows, width]; `padding` of its rows are zero and never used."""

    rows: int
    width: int
    config: Any
    axis: str
    padding: int = 0

    def setup(self):
        init = initializer(self.config, "embedding")
        if self.padding:
            init = padded_rows(init, self.rows - self.padding)
        named = nn.with_logical_partitioning(init, (self.axis, axes.EMBED))
        self.embedding = self.param("embedding", named, (self.rows, self.width), jnp.float32)

    def __call__(self, ids):
        """Rows of the table, f32 [..., width]."""
        return jnp.take(self.embedding, ids, axis=0)

    def logits(self, hidden, dtype):
        """Products with all rows, f32 [..., rows], computed in `dtype` and accumulated in f32."""
        return product_with_rows(hidden.astype(dtype), self.embedding.astype(dtype), jnp.float32)


class Embeddings(nn.Module):
    """Sum of token, position and token type embeddings, then norm and dropout, as the family has them.

    Tables narrower than the model (ALBERT, ELECTRA) are followed by a projection. The token table is given from
    outside, because encoder, decoder and vocabulary head may share it.
    """

    config: Any

    @nn.compact
    def __call__(self, token_table, inputs, deterministic, prompt_PE=None):
        """f32 or bf16 [B, T, D] from the five input arrays of `models.inputs.stream`.

        With a prompt, whose vectors go before those of the tokens, [B, P + T, D]; the arrays have made room for it.
        """
        c = self.config
        tokens = inputs["tokens"]
        x_BTE = token_table(tokens)
        if prompt_PE is not None:
            x_BTE = jnp.concatenate([jnp.broadcast_to(prompt_PE, (len(tokens), *prompt_PE.shape)), x_BTE], axis=1)
        positions = inputs["positions"]
        if positions is None:
            positions = jnp.arange(x_BTE.shape[1])[None]
        if c.scale_embeddings:
            x_BTE *= jnp.asarray(c.width**0.5, c.dtype).astype(jnp.float32)  # rounded to the compute type, as Gemma's
        added = c.scheme.embed(c, positions)
        x_BTE = x_BTE if added is None else x_BTE + added
        if c.token_types:
            types = inputs["token_types"]
            table = Table(c.token_types, c.embedding_width, c, axes.SMALL, name="token_type")
            x_BTE += table(jnp.zeros((1, 1), jnp.int32) if types is None else types)
        if c.embedding_norm:
            x_BTE = Norm(c, name="norm")(x_BTE)
        x_BTD = dropout(self, x_BTE.astype(c.dtype), c.dropout, deterministic)
        if c.embedding_width != c.width:
            init = initializer(c, "head")
            x_BTD = Linear(c.width, (axes.SMALL, axes.EMBED), init, True, c.dtype, name="projection")(x_BTD)
        return axes.constrain(x_BTD, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)
