"""States of a frozen body made ready for a linear classifier."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.models import axes


def has_transform(config):
    """Whether classifiers of rows read transformed states, with no pooler between."""
    return config.feature_norm != "none" or config.feature_size > 0


class FeatureTransform(nn.Module):
    """States scaled to unit length where asked, less `mean`, times `scale`, projected on `components` where asked.

    Its parameters are fitted (training/features.py), not trained. As initialised, they change nothing but keep the
    first `feature_size` of the features.
    """

    config: Any

    @nn.compact
    def __call__(self, x):
        """[..., feature_size or D] of [..., D]; computed in f32."""
        c, width = self.config, x.shape[-1]
        named = nn.with_logical_partitioning
        mean_D = self.param("mean", named(nn.initializers.zeros, (axes.EMBED,)), (width,), jnp.float32)
        scale_D = self.param("scale", named(nn.initializers.ones, (axes.EMBED,)), (width,), jnp.float32)
        x = jnp.asarray(x, jnp.float32)
        if c.feature_norm == "unit":
            square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
            x = x * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))
        x = (x - mean_D) * scale_D
        if c.feature_size:
            init = named(lambda _, shape, dtype: jnp.eye(*shape, dtype=dtype), (axes.EMBED, axes.SMALL))
            x = x @ self.param("components", init, (width, c.feature_size), jnp.float32)
        return x.astype(c.dtype)
