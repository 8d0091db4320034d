"""Where a token stands: sinusoidal tables, rotary rotations and T5's relative bias.

Learned positions are an embedding table in models.embeddings; scores of contents against distances (DeBERTa, XLNet)
are in models.relative.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cloze.models import axes
from cloze.models.initializers import initializer


def sinusoidal(positions, width):
    """Sinusoids (Vaswani et al. 2017, section 3.5): sines of all frequencies, then cosines.

    Args:
        positions: int32 [..., T].
        width: even size of the embedding.

    Returns:
        f32 [..., T, width]. The paper interleaves sines and cosines; this is the same up to a permutation.
    """
    half = width // 2
    frequencies = np.exp(-math.log(10000.0) * np.arange(half) / half)
    angles = positions[..., None].astype(jnp.float32) * frequencies.astype(np.float32)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def rotary_frequencies(head_dim, theta, scaling=()):
    """Angles per position of the pairs of a head, f32 [E / 2]: theta ** (-2i/E).

    Args:
        head_dim: E, even.
        theta: base of the frequencies.
        scaling: () or Llama 3.1's (factor, low_freq_factor, high_freq_factor, original length): waves longer than
            length / low are slowed down by the factor, those shorter than length / high stay, others are blended.
    """
    half = head_dim // 2
    frequencies = np.float32(theta) ** (-np.arange(half, dtype=np.float32) / np.float32(half))
    if not scaling:
        return frequencies
    factor, low, high, length = (np.float32(number) for number in scaling)
    turns = length * frequencies / np.float32(2 * math.pi)  # within the original length
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - kept) * frequencies / factor + kept * frequencies).astype(np.float32)


def rotate(x_BTHE, positions, frequencies):
    """Rotary positions (Su et al. 2021): pairs (i, i + E/2) of each head turn by position * frequency i.

    Args:
        x_BTHE: queries or keys, E even.
        positions: int32 [B or 1, T].
        frequencies: f32 [E / 2], of `rotary_frequencies`.
    """
    half = x_BTHE.shape[-1] // 2
    angles = positions[:, :, None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = x_BTHE[..., :half].astype(jnp.float32), x_BTHE[..., half:].astype(jnp.float32)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTHE.dtype)


def relative_bucket(distance, *, bidirectional, buckets, max_distance):
    """T5's bucket of a relative position (Raffel et al. 2020, section 2.1).

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


class RelativeBias(nn.Module):
    """T5's bias on attention scores: one number a head and bucket, shared by all layers of a stack.

    Places in the row stand for positions: within a segment they differ by the same amounts, so that rows share
    one bias (which fused kernels can differentiate).
    """

    config: object
    bidirectional: bool

    @nn.compact
    def __call__(self, length, query_places=None):
        """The bias f32 [1 or B, H, T, S].

        Args:
            length: S, the keys.
            query_places: int32 [B, T], where in the row of keys the queries stand; None: T = S, each at its key.
        """
        c = self.config
        init = nn.with_logical_partitioning(initializer(c, "relative"), (axes.SMALL, None))
        table_NH = self.param("embedding", init, (c.relative_buckets, c.heads), jnp.float32)
        keys = np.arange(length)
        queries = keys[None] if query_places is None else query_places
        bucket_BTS = relative_bucket(
            jnp.asarray(keys - queries[:, :, None]),
            bidirectional=self.bidirectional,
            buckets=c.relative_buckets,
            max_distance=c.relative_max_distance,
        )
        return jnp.moveaxis(table_NH[bucket_BTS], -1, 1)
