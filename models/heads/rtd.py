"""The head "rtd": which tokens are replaced (ELECTRA)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.heads.base import head
from cloze.models.initializers import initializer
from cloze.models.primitives import ACTIVATIONS, Linear


class Discriminator(nn.Module):
    """A dense layer with the model's activation, and a score (Clark et al. 2020, section 2)."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BTD):
        """f32 [B, T]."""
        c = self.config
        init = initializer(c, "head")
        dense = Linear(c.width, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="dense")
        output = Linear(1, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="output")
        return output(ACTIVATIONS[c.activation](dense(hidden_BTD))).astype(jnp.float32)[..., 0]


@head("rtd", "rtd_head")
def replaced(c, body):
    """A score of each token, positive where it looks replaced, f32 [B, T]."""
    return Discriminator(c, name="rtd_head")(body.hidden)
