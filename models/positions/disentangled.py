"""Disentangled attention: contents against positions and the reverse (DeBERTa; He et al. 2021, 2023)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.enhanced_decoder import enhanced_decoder
from cloze.models.initializers import initializer
from cloze.models.positions import distances
from cloze.models.positions.distances import Distances
from cloze.models.positions.scheme import SCHEMES
from cloze.models.primitives import Norm
from cloze.options import option


@SCHEMES.register("disentangled")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Disentangled(distances.DistanceScores):
    """Scores of three kinds, from a table of relative positions, clipped or in logarithmic buckets."""

    relative_buckets: int = option(32, "of DeBERTa's distances on either side, 0: each distance is one", least=0)
    relative_span: int = option(0, "longest distance that disentangled attention tells apart", least=0)
    relative_shared: bool = option(False, "distances go through the projections of queries and keys (DeBERTa v3)")
    relative_norm: bool = option(False, "normalise the vectors of distances (DeBERTa v3)")
    enhanced_decoder: int = option(
        0,
        'turns of DeBERTa\'s enhanced mask decoder before the head "mlm"; 0: without',
        least=0,
        needs={"positions": ("disentangled",)},
        most=10_000,
    )

    def check(self, config):
        super().check(config)
        if self.relative_span < 1:
            raise ConfigError("disentangled positions need model.relative_span, the longest distance told apart")
        buckets = self.relative_buckets
        if buckets and (buckets < 2 or self.relative_span <= buckets // 2 + 1):
            raise ConfigError(
                f"model.relative_buckets={buckets} must be 0 or at least 2, and half of it below model.relative_span "
                f"- 1, the longest distance told apart; got model.relative_span={self.relative_span}"
            )
        if self.enhanced_decoder and config.max_positions < 1:
            raise ConfigError("model.enhanced_decoder needs model.max_positions")

    def longest_row(self, config):
        return config.max_positions if self.enhanced_decoder else None

    def share(self, config, name, causal, placement):
        """`Distances`; only the vectors that occur in such rows."""
        span = self.relative_buckets or self.relative_span
        table_RD = _Table(config, 2 * span, self.relative_norm, name=f"{name}_relative")()
        places = np.arange(placement.length)
        distance_TS = places[:, None] - places[None, :]
        if self.relative_buckets:
            distance_TS = log_bucket(distance_TS, self.relative_buckets, self.relative_span)
        index_TS = np.clip(distance_TS + span, 0, 2 * span - 1)
        first, last = int(index_TS.min()), int(index_TS.max())
        return Distances(table_RD[first : last + 1].astype(config.dtype), jnp.asarray(index_TS - first)[None])

    def score(self, config, q_BTHE, k_BSKE, shared, scale, project, deterministic):
        """The three kinds of scores are divided by sqrt(3 E) (He et al. 2021, equation 4).

        Both kinds with positions read the distance of the query from the key, as the released code does; the paper's
        equation has it reversed in the last one.
        """
        return _Scores(config, self.relative_shared, name="relative")(q_BTHE, k_BSKE, shared, project, deterministic)

    def route(self, module, name, contexts, placement, places_BP, deterministic):
        if not self.enhanced_decoder or "mlm" not in module.config.heads_out:
            return None
        return enhanced_decoder(module.config, self.enhanced_decoder, contexts, placement.positions)


def log_bucket(distance: np.ndarray, buckets: int, longest: int) -> np.ndarray:
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


class _Table(nn.Module):
    config: Any
    rows: int
    norm: bool

    @nn.compact
    def __call__(self):
        init = nn.with_logical_partitioning(initializer(self.config, "embedding"), (axes.SMALL, axes.EMBED))
        table_RD = self.param("embedding", init, (self.rows, self.config.width), jnp.float32)
        return Norm(self.config, name="norm")(table_RD) if self.norm else table_RD


class _Scores(nn.Module):
    config: Any
    shared: bool  # the layer's own projections serve distances, too

    @nn.compact
    def __call__(self, q_BTHE, k_BSHE, shared, project, deterministic):
        c = self.config
        vectors_RD = dropout(self, shared.vectors_RD, c.dropout, deterministic)
        if self.shared:
            keys_RHE, queries_RHE = project("key", vectors_RD), project("query", vectors_RD)
        else:
            keys_RHE = distances.project(c, vectors_RD, "position_key", c.projection_bias("k"))
            queries_RHE = distances.project(c, vectors_RD, "position_query", c.projection_bias("q"))
        scale = (3 * c.head_dim) ** -0.5
        to_position = distances.against(q_BTHE, keys_RHE, shared.index)
        from_position = distances.against(k_BSHE, queries_RHE, jnp.swapaxes(shared.index, 1, 2))
        return q_BTHE, (to_position + jnp.swapaxes(from_position, 2, 3)) * scale, scale
