"""What stands between states and scores: a dense layer, the model's activation and a norm."""

from typing import Any

import flax.linen as nn

from cloze.models import axes
from cloze.models.initializers import initializer
from cloze.models.primitives import ACTIVATIONS, Linear, Norm


class Transform(nn.Module):
    """BERT's "transform" (Devlin et al. 2019, released code), as wide as `features`."""

    config: Any
    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x):
        """[..., features]."""
        c = self.config
        names = (axes.EMBED, axes.SMALL)
        dense = Linear(self.features, names, initializer(c, "head"), self.use_bias, c.dtype, name="dense")
        return Norm(c, name="norm")(ACTIVATIONS[c.activation](dense(x)))
