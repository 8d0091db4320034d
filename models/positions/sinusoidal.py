"""Sinusoids: positions as waves of many lengths (Vaswani et al. 2017, section 3.5)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models.positions.scheme import SCHEMES, Scheme


def sinusoidal(positions: jax.Array, width: int) -> jax.Array:
    """Sines of all frequencies, then cosines.

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


def check_width(config):
    """Raises ConfigError where a width has no room for a cosine beside each sine."""
    if config.width % 2:
        raise ConfigError(f"model.positions={config.positions} needs an even model.width, got {config.width}")


@SCHEMES.register("sinusoidal")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sinusoidal(Scheme):
    """Fixed sinusoids, added to token embeddings."""

    def check(self, config):
        check_width(config)

    def embed(self, config, positions):
        return sinusoidal(positions, config.embedding_width)
