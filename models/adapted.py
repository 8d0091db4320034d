"""Models with parts beside them: parameters that train in place of the model's own.

Prefixes and prompts can be computed by small networks, which train more steadily than the vectors themselves; kernels
can have low-rank changes (models.low_rank). All of it happens to the tree of parameters before the model runs, and
afterwards the tree can be merged into an ordinary one. Parts that are inside the model are in models.adapters.
"""

import abc
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.build import Parameters, abstract, parameters, parameters_of
from cloze.models.config import ModelConfig


class New(NamedTuple):
    """A parameter that a part brings: its shape, the logical names of its axes, its initializer."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Callable[..., Any]


class Part(abc.ABC):
    """Parameters beside those of a model, and what becomes of the model's by them."""

    @abc.abstractmethod
    def new(self, config: ModelConfig, base: Parameters) -> dict[str, New]:
        """{name: New} of a model with a ModelConfig and Parameters.

        Raises:
            ConfigError: the model has not what this part belongs to.
        """

    def computed(self, base: Parameters) -> Collection[str]:
        """Names of the model's parameters that are computed from this part's alone, and so are not stored."""
        return ()

    @abc.abstractmethod
    def merged(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """{name: array} of the model's parameters that differ from the stored ones, of which `flat` is a flat tree."""

    def applied(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """{name: leaf} to run the model with, which then computes what it does with those of `merged`."""
        return self.merged(flat)


def uniform(fan: int) -> Callable[..., Any]:
    """Uniform within 1 / sqrt(fan): torch's and peft's start of linear maps and LSTMs."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan**-0.5), fan**-0.5)

    return draw


def linear(path: str, shape: tuple[int, ...], named: tuple[str | None, ...]) -> dict[str, New]:
    """The kernel and bias of a map of two axes, which may be stacked."""
    return {
        f"{path}/kernel": New(shape, named, uniform(shape[-2])),
        f"{path}/bias": New((*shape[:-2], shape[-1]), (*named[:-2], named[-1]), nn.initializers.zeros),
    }


def needed(ending: str, base: Parameters, option: str) -> list[str]:
    """The parameters of a model that end so.

    Raises:
        ConfigError: there are none; names the option that brings them.
    """
    found = [name for name in base.shapes if name.endswith(ending)]
    if not found:
        raise ConfigError(f"the model has nothing that ends in {ending}, which this part computes: set {option}")
    return found


class Adapted:
    """A model with parts beside it: what training needs of a module, over one tree.

    The model's parameters keep their names; each part's tree stands beside them, and what a part computes is absent.

    Args:
        model: Flax module.
        parts: sequence of Part.

    Attributes:
        model, parts: as given.
        config: ModelConfig of the model.

    Raises:
        ConfigError: a part does not go with the model.
    """

    def __init__(self, model, parts):
        self.model, self.parts, self.config = model, tuple(parts), model.config
        base = parameters(model)
        self._new = {name: new for part in self.parts for name, new in part.new(self.config, base).items()}
        self._computed = frozenset(name for part in self.parts for name in part.computed(base))

    def init(self, key, batch):
        """{"params": tree} of new parameters; those of the model are as the model itself makes them of this key."""
        return {"params": self._add(self.model.init(key, batch)["params"], key)}

    def _add(self, base, key):
        flat = {name: leaf for name, leaf in names.flatten(base).items() if name not in self._computed}
        for number, (name, (shape, named, init)) in enumerate(sorted(self._new.items())):
            value = init(jax.random.fold_in(key, 1 + number), shape, jnp.float32)
            flat[name] = nn.LogicallyPartitioned(value, named)
        return names.unflatten(flat)

    def parameters(self):
        """See models.build."""
        return parameters_of(jax.eval_shape(lambda base: self._add(base, jax.random.key(0)), abstract(self.model)))

    def apply(self, variables, batch, deterministic=True, rngs=None, **options):
        """What the model gives with its parts; `options` are the model's own."""
        params = self._tree(variables["params"], lambda part, flat: part.applied(flat))
        return self.model.apply({"params": params}, batch, deterministic, rngs=rngs, **options)

    def merge(self, params):
        """The ordinary tree of `model`, which computes what the stored tree `params` does here, up to rounding."""
        return self._tree(params, lambda part, flat: part.merged(flat))

    def _tree(self, params, replaced):
        flat = names.flatten(params)
        found = {name: leaf for name, leaf in flat.items() if name not in self._new}
        for part in self.parts:
            found |= replaced(part, flat)
        return names.unflatten(found)
