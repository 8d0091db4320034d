"""Transformer-XL's relative positions, as XLNet has them (Dai et al. 2019, section 3.3; Yang et al. 2019, A.1)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer
from cloze.models.positions import distances
from cloze.models.positions.distances import Distances
from cloze.models.positions.scheme import SCHEMES
from cloze.models.positions.sinusoidal import check_width, sinusoidal
from cloze.models.query_stream import two_streams


@SCHEMES.register("transformer_xl")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerXL(distances.DistanceScores):
    """Contents against sinusoids of distances, with biases in place of the query's position, and against segments."""

    def check(self, config):
        check_width(config)
        super().check(config)

    def share(self, config, name, causal, placement):
        """`Distances`; nothing is learned here."""
        length = placement.length
        index = placement.index[:, :, None] - jnp.arange(length)[None, None] + length
        vectors_RD = sinusoidal(jnp.arange(-length, length + 1), config.width).astype(config.dtype)
        return Distances(vectors_RD, index, placement.query_types, placement.key_types)

    def score(self, config, q_BTHE, k_BSKE, shared, scale, project, deterministic):
        """Scores are (q + r_w) k + (q + r_r) r + (q + r_s) s, all times 1/sqrt(E)."""
        return _Scores(config, scale, name="relative")(q_BTHE, shared, deterministic)

    def route(self, module, name, contexts, placement, places_BP, deterministic):
        return two_streams(module, name, contexts, placement, places_BP, deterministic)


class _Scores(nn.Module):
    config: Any
    scale: float

    @nn.compact
    def __call__(self, q_BTHE, shared, deterministic):
        c = self.config

        def parameter(name, shape, axis_names):
            init = nn.with_logical_partitioning(initializer(c, "relative"), axis_names)
            return self.param(name, init, shape, jnp.float32).astype(c.dtype)

        def shifted(name):
            bias = parameter(name, (c.heads * c.head_dim,), (axes.HEADS,))
            return q_BTHE + bias.reshape(c.heads, c.head_dim)

        vectors_RD = dropout(self, shared.vectors_RD, c.dropout, deterministic)
        keys_RHE = distances.project(c, vectors_RD, "position_key", False)
        scores = distances.against(shifted("position_bias"), keys_RHE, shared.index)
        by_segment = shifted("segment_bias")
        segments = parameter("segment_embedding", (2, c.heads * c.head_dim), (axes.SMALL, axes.HEADS))
        if shared.query_types is not None:
            segments = segments.reshape(2, c.heads, c.head_dim)
            same_or_not = jnp.einsum("BTHE,GHE->GBHT", by_segment, segments, preferred_element_type=jnp.float32)
            other = shared.query_types[:, None, :, None] != shared.key_types[:, None, None, :]
            scores += jnp.where(other, same_or_not[1][..., None], same_or_not[0][..., None])
        return shifted("content_bias"), scores * self.scale, self.scale
