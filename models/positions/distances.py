"""What schemes have in common that score contents against a vector for each distance.

A stack holds one vector a distance; each layer projects them to its heads and adds the scores to those of contents.
Shapes: R distances, others as in models.attention.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import struct

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.initializers import initializer
from cloze.models.positions.scheme import Scheme
from cloze.models.primitives import Linear


@struct.dataclass
class Distances:
    """What a stack's layers share.

    Attributes:
        vectors_RD: a vector for each distance.
        index: int32 [1 or B, T, S], which of them stands between query and key.
        query_types, key_types: int32 [B, T], [B, S], XLNet's segments, or both None.
    """

    vectors_RD: Any
    index: Any
    query_types: Any = None
    key_types: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistanceScores(Scheme):
    """A scheme of this kind."""

    incremental = False

    def check(self, config):
        if not config.scale_attention or config.query_scalar:
            raise ConfigError(
                f"model.positions={config.positions} has scores of its own scale: set scale_attention=true and "
                "query_scalar=0"
            )
        if config.kv_heads != config.heads:
            raise ConfigError(f"model.positions={config.positions} needs model.kv_heads equal to model.heads")


def project(config, vectors_RD, name, use_bias):
    """Vectors of distances as the heads [R, H, E] of a projection of their own."""
    init = initializer(config, "query")
    axis_names = (axes.EMBED, axes.HEADS)
    linear = Linear(config.heads * config.head_dim, axis_names, init, use_bias, config.dtype, name=name)
    return linear(vectors_RD).reshape(-1, config.heads, config.head_dim)


def against(x_BTHE, vectors_RHE, index):
    """Products of each head's contents with the vector that `index` [1 or B, T, S] names: f32 [B, H, T, S]."""
    scores_BHTR = jnp.einsum("BTHE,RHE->BHTR", x_BTHE, vectors_RHE, preferred_element_type=jnp.float32)
    index = jnp.broadcast_to(index[:, None], (*scores_BHTR.shape[:3], index.shape[-1]))
    return jnp.take_along_axis(scores_BHTR, index, axis=-1)
