"""The head "pooler": a vector of each row, which other heads of rows read, too."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.features import FeatureTransform, has_transform
from cloze.models.heads.base import head
from cloze.models.initializers import initializer
from cloze.models.primitives import ACTIVATIONS, Linear

FIELDS, RATES = ("pooling", "pooler_activation"), ("pooler_dropout",)  # of all heads that read it


class Pooler(nn.Module):
    """A dense layer with the family's activation over the state that stands for a row; BERT's is tanh."""

    config: Any

    @nn.compact
    def __call__(self, state_BD, deterministic):
        """[..., D], as `state_BD`, which may have more dimensions."""
        c = self.config
        state_BD = dropout(self, state_BD, c.pooler_dropout, deterministic)
        if c.pooler_activation == "none":
            return state_BD
        dense = Linear(c.width, (axes.EMBED, axes.SMALL), initializer(c, "head"), True, c.dtype, name="dense")
        x_BD = dense(state_BD)
        return jnp.tanh(x_BD) if c.pooler_activation == "tanh" else ACTIVATIONS[c.pooler_activation](x_BD)


@head("pooler", "pooler", rows=True, fields=FIELDS, rates=RATES)
def pooled(c, body):
    """A vector of each row [B, D], of each text [B, E or C, D]: computed once, and given wherever a head reads it."""
    given = body.outputs.heads
    if "pooler" not in given:
        if has_transform(c):
            given["pooler"] = FeatureTransform(c, name="feature_transform")(body.state)
        else:
            given["pooler"] = Pooler(c, name="pooler")(body.transformed(body.state), body.deterministic)
    return given["pooler"]
