"""Scores by a linear map, of a row or of each token."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer
from cloze.models.primitives import Linear


class Classifier(nn.Module):
    """Dropout and a linear map to `features` scores, f32."""

    config: Any
    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x, deterministic=True):
        """f32 [..., features]."""
        c = self.config
        x = dropout(self, x, c.head_dropout, deterministic)
        init = initializer(c, "head")
        output = Linear(self.features, (axes.EMBED, axes.SMALL), init, self.use_bias, c.dtype, name="output")
        nn.share_scope(self, output)
        return output(x).astype(jnp.float32)
