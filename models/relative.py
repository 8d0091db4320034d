"""Scores of contents against distances: DeBERTa's disentangled attention and XLNet's (Transformer-XL) attention.

Both score a query against a vector for its distance to the key. A stack holds one vector a distance; each layer
projects them to its heads and adds the scores to those of contents.
Shapes: R distances, others as in models.attention.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer
from cloze.models.positions import sinusoidal
from cloze.models.primitives import Linear, Norm


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


def log_bucket(distance, buckets, longest):
    """DeBERTa v3's bucket of a distance: itself up to buckets / 2, then logarithmic, `buckets - 1` at `longest`.

    Args:
        distance: int array of numpy.
        buckets: number on either side.
        longest: distance that the buckets reach.
    """
    middle = buckets // 2
    far = np.maximum(np.abs(distance), middle).astype(np.float32)
    # In f32, as in the reference: the edges of the buckets depend on the rounding.
    log = np.log(far / np.float32(middle)) / np.log(np.float32((longest - 1) / middle))
    far = np.ceil(log * np.float32(middle - 1)).astype(np.int64) + middle
    return np.where(np.abs(distance) <= middle, distance, np.sign(distance) * far)


class DisentangledDistances(nn.Module):
    """DeBERTa's table of relative positions, clipped or in logarithmic buckets (He et al. 2021, 3.1; 2023, 3)."""

    config: Any

    @nn.compact
    def __call__(self, length):
        """`Distances` for rows of `length` tokens; only the vectors that occur in such rows."""
        c = self.config
        span = c.relative_buckets or c.relative_span
        init = nn.with_logical_partitioning(initializer(c, "embedding"), (axes.SMALL, axes.EMBED))
        table_RD = self.param("embedding", init, (2 * span, c.width), jnp.float32)
        if c.relative_norm:
            table_RD = Norm(c, name="norm")(table_RD)
        places = np.arange(length)
        distance_TS = places[:, None] - places[None, :]
        if c.relative_buckets:
            distance_TS = log_bucket(distance_TS, c.relative_buckets, c.relative_span)
        index_TS = np.clip(distance_TS + span, 0, 2 * span - 1)
        first, last = int(index_TS.min()), int(index_TS.max())
        return Distances(table_RD[first : last + 1].astype(c.dtype), jnp.asarray(index_TS - first)[None])


class DisentangledScores(nn.Module):
    """Contents against positions and positions against contents (He et al. 2021, equation 4).

    The three kinds of scores are divided by sqrt(3 E). Both kinds with positions read the distance of the query from
    the key, as the released code does; the paper's equation has it reversed in the last one. `project` maps distances
    to the heads of queries and keys with the layer's own projections where they are shared (v3).
    """

    config: Any

    @nn.compact
    def __call__(self, q_BTHE, k_BSHE, distances, project, deterministic):
        """(queries to use, f32 [B, H, T, S] to add to the scores, factor on the scores of contents)."""
        c = self.config
        vectors_RD = dropout(self, distances.vectors_RD, c.dropout, deterministic)
        if c.relative_shared:
            keys_RHE, queries_RHE = project("key", vectors_RD), project("query", vectors_RD)
        else:
            keys_RHE = _project(c, vectors_RD, "position_key", c.projection_bias("k"))
            queries_RHE = _project(c, vectors_RD, "position_query", c.projection_bias("q"))
        scale = (3 * c.head_dim) ** -0.5
        to_position = _against(q_BTHE, keys_RHE, distances.index)
        from_position = _against(k_BSHE, queries_RHE, jnp.swapaxes(distances.index, 1, 2))
        return q_BTHE, (to_position + jnp.swapaxes(from_position, 2, 3)) * scale, scale


def transformer_xl_distances(config, length, query_positions, query_types, key_types):
    """XLNet's sinusoids of distances (Dai et al. 2019, 3.3): nothing is learned here.

    Args:
        config: ModelConfig.
        length: S, keys in a row.
        query_positions: int32 [1 or B, T], the place of each query in the row.
        query_types, key_types: see `Distances`.
    """
    distances_R = jnp.arange(-length, length + 1)
    index = query_positions[:, :, None] - jnp.arange(length)[None, None] + length
    return Distances(sinusoidal(distances_R, config.width).astype(config.dtype), index, query_types, key_types)


class TransformerXLScores(nn.Module):
    """Contents against distances, with biases in place of the query's position, and against same or other segment.

    Scores are (q + r_w) k + (q + r_r) r + (q + r_s) s, all times 1/sqrt(E) (Yang et al. 2019, A.1).
    """

    config: Any

    @nn.compact
    def __call__(self, q_BTHE, k_BSHE, distances, project, deterministic):
        """As `DisentangledScores`; `project` is not used."""
        c = self.config
        scale = c.head_dim**-0.5

        def parameter(name, shape, names):
            init = nn.with_logical_partitioning(initializer(c, "relative"), names)
            return self.param(name, init, shape, jnp.float32).astype(c.dtype)

        def shifted(name):
            bias = parameter(name, (c.heads * c.head_dim,), (axes.HEADS,))
            return q_BTHE + bias.reshape(c.heads, c.head_dim)

        vectors_RD = dropout(self, distances.vectors_RD, c.dropout, deterministic)
        keys_RHE = _project(c, vectors_RD, "position_key", False)
        scores = _against(shifted("position_bias"), keys_RHE, distances.index)
        by_segment, segments = (
            shifted("segment_bias"),
            parameter("segment_embedding", (2, c.heads * c.head_dim), (axes.SMALL, axes.HEADS)),
        )
        if distances.query_types is not None:
            segments = segments.reshape(2, c.heads, c.head_dim)
            same_or_not = jnp.einsum("BTHE,GHE->GBHT", by_segment, segments, preferred_element_type=jnp.float32)
            other = distances.query_types[:, None, :, None] != distances.key_types[:, None, None, :]
            scores += jnp.where(other, same_or_not[1][..., None], same_or_not[0][..., None])
        return shifted("content_bias"), scores * scale, scale


def _project(config, vectors_RD, name, use_bias):
    init = initializer(config, "query")
    names = (axes.EMBED, axes.HEADS)
    projected = Linear(config.heads * config.head_dim, names, init, use_bias, config.dtype, name=name)(vectors_RD)
    return projected.reshape(-1, config.heads, config.head_dim)


def _against(x_BTHE, vectors_RHE, index):
    """Products of each head's contents with the vector that `index` [1 or B, T, S] names: f32 [B, H, T, S]."""
    scores_BHTR = jnp.einsum("BTHE,RHE->BHTR", x_BTHE, vectors_RHE, preferred_element_type=jnp.float32)
    index = jnp.broadcast_to(index[:, None], (*scores_BHTR.shape[:3], index.shape[-1]))
    return jnp.take_along_axis(scores_BHTR, index, axis=-1)
