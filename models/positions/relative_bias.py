"""T5's relative bias: a number for each head and bucket of distances (Raffel et al. 2020, section 2.1)."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.initializers import initializer
from cloze.models.positions.scheme import SCHEMES, Scheme
from cloze.options import option


@SCHEMES.register("relative_bias")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeBias(Scheme):
    """A bias on attention scores, which all layers of a stack share.

    Places in the row stand for positions: within a segment they differ by the same amounts, so that rows share one
    bias (which fused kernels can differentiate).
    """

    relative_buckets: int = option(32, "number of buckets of T5's relative bias", least=0)
    relative_max_distance: int = option(128, "distance at which the last of these begins", least=1, most=2**31 - 1)
    relative_bidirectional: bool = option(
        False, "a decoder's relative bias tells keys after the query apart (prefix LM)"
    )

    def check(self, config):
        super().check(config)
        if not 4 <= self.relative_buckets < self.relative_max_distance:
            raise ConfigError("model.relative_buckets must be at least 4 and below model.relative_max_distance")

    def share(self, config, name, causal, placement):
        """f32 [1 or B, H, T, S]."""
        table_NH = _Table(config, self.relative_buckets, name=f"{name}_relative_bias")()
        bucket_BTS = relative_bucket(
            jnp.asarray(np.arange(placement.length) - placement.index[:, :, None]),
            bidirectional=not causal or self.relative_bidirectional,
            buckets=self.relative_buckets,
            max_distance=self.relative_max_distance,
        )
        return jnp.moveaxis(table_NH[bucket_BTS], -1, 1)

    def score(self, config, q_BTHE, k_BSKE, shared, scale, project, deterministic):
        return q_BTHE, shared, scale


def relative_bucket(
    distance: jax.Array, *, bidirectional: bool, buckets: int, max_distance: int
) -> jax.Array:  # fmt: skip
    """T5's bucket of a relative position.

    Half of the buckets are single distances; the others grow logarithmically up to `max_distance`, the last one
    holding everything beyond. In a bidirectional stack keys after the query have buckets of their own.

    Args:
        distance: int array, key position minus query position.
        bidirectional: whether keys after the query are told apart.
        buckets: number of buckets in all.
        max_distance: where the last bucket begins.
    """
    bucket = jnp.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        bucket = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    # The logarithm is taken in f32, as in the reference: bucket edges depend on its rounding.
    ratio = jnp.maximum(distance, 1).astype(jnp.float32) / exact
    scaled = jnp.log(ratio) / math.log(max_distance / exact) * (buckets - exact)
    far = jnp.minimum(exact + scaled.astype(jnp.int32), buckets - 1)
    return bucket + jnp.where(distance < exact, distance, far)


class _Table(nn.Module):
    config: Any
    buckets: int

    @nn.compact
    def __call__(self):
        init = nn.with_logical_partitioning(initializer(self.config, "relative"), (axes.SMALL, None))
        return self.param("embedding", init, (self.buckets, self.config.heads), jnp.float32)
