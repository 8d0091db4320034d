"""What a position scheme may do: to embeddings, to queries and keys, to scores."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from flax import struct

from cloze.registry import Registry

SCHEMES = Registry("model.positions", __package__)


@struct.dataclass
class Placement:
    """Where the queries of a stack stand among its keys.

    Attributes:
        positions: int32 [B or 1, T], the queries' positions, which packed texts count from 0 again.
        length: static; S, the keys in a row.
        index: int32 [B or 1, T], the key that each query stands at.
        query_types, key_types: int32 [B, T] and [B, S], token types, or both None.
    """

    positions: Any
    length: int = struct.field(pytree_node=False)
    index: Any = None
    query_types: Any = None
    key_types: Any = None


@SCHEMES.register("none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
    """A position scheme; this one does nothing. Fields of the others are options of a model.

    Methods that make parameters are called inside a compact method, whose module gets them. `config` is the
    ModelConfig.

    Attributes:
        incremental: whether a key means the same whatever stands before it: then keys can be kept in a cache, and
            learned ones can stand in front of the text.
        differing: options in which the blocks of a pattern may differ: they change no parameter.
    """

    incremental: ClassVar[bool] = True
    differing: ClassVar[tuple[str, ...]] = ()

    def check(self, config: Any) -> None:
        """Raises ConfigError where a model cannot have this scheme."""

    def longest_row(self, config: Any) -> int | None:
        """Tokens of the longest row that there are positions for; None: any."""

    def embed(self, config: Any, positions: jax.Array) -> jax.Array | None:
        """What is added to token embeddings: f32 [B or 1, T, E], or None."""

    def share(self, config: Any, name: str, causal: bool, placement: Placement) -> Any:
        """What all layers of the stack `name` read of this scheme, computed once; called in the whole model."""

    def turn(self, q_BTHE: jax.Array, k_BSKE: jax.Array | None, shared: Any) -> tuple[jax.Array, jax.Array | None]:
        """The queries and keys to use; called in a layer's attention, with what `share` gave."""
        return q_BTHE, k_BSKE

    def score(
        self, config: Any, q_BTHE: jax.Array, k_BSKE: jax.Array, shared: Any, scale: float, project: Callable[..., Any],
        deterministic: bool,
    ) -> tuple[jax.Array, jax.Array | None, float]:  # fmt: skip
        """What joins the scores; called in a layer's attention.

        Args:
            config, q_BTHE, k_BSKE, shared: as above; queries and keys are turned.
            scale: factor on the scores of contents.
            project: (name of a projection, [..., D]) -> [..., H, E].
            deterministic: False draws dropout.

        Returns:
            (queries to use, f32 [1 or B, H, T, S] to add to the scores or None, factor on the scores of contents).
        """
        return q_BTHE, None, scale

    def route(
        self, module: Any, name: str, contexts: Any, placement: Placement, places_BP: Any, deterministic: bool
    ) -> Callable[..., Any] | None:
        """Another way through the layers of the stack `name` than once from the bottom to the top; None: there is none.

        Args:
            module: the model, which gets parameters.
            name, placement, deterministic: as above.
            contexts: models.layers.Context of each block of the pattern.
            places_BP: int32 [B, P], the places to predict, or None.

        Returns:
            A function of `run`, `x_BTD` and `cache` as models.stack.Stack calls it.
        """
