"""What an optimizer is: its options, and the direction of its step; optimizers are files of this package.

A stack of layers is stored as one array, but its layers are parameters of their own: what takes statistics over a whole
parameter runs through `per_layer`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
import optax

from cloze import options
from cloze.errors import ConfigError
from cloze.models import names
from cloze.options import FREELY, Name, Pattern, option
from cloze.registry import Registry
from cloze.training.schedules import FALLING, SCHEDULES

NO_DECAY = r".*(norm|bias).*"  # parameters that do not decay; word vectors have none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The options that all optimizers have."""

    learning_rate: float = option(1e-4, "peak", least=0)
    schedule: str = option(
        "linear",
        "after warm-up: linear, cosine, inverse_sqrt or constant; wsd is constant and falls at the end; "
        "slanted_triangular rises over warmup_steps and falls linearly to final_fraction (ULMFiT: 1/32)",
        choices=tuple(SCHEDULES),
    )
    warmup_steps: options.Duration = option(
        10_000, "duration, linear from 0; for inverse_sqrt: constant until here, as T5", least=0
    )
    decay_steps: options.Duration | None = option(
        None,
        "duration over which the schedule falls, warm-up included; None: train.steps, as configs/finetune have it. Set "
        "it, and train.steps only says where a run stops: a shorter run is the beginning of the longer one",
        changes=FREELY,
        least=1,
    )
    final_fraction: float = option(
        0.0,
        "the schedule ends at this fraction of the peak, or also begins there (slanted_triangular)",
        least=0,
        most=1,
        needs={"schedule": FALLING},
    )
    decay_share: float = option(
        0.1,
        "share of the steps up to decay_steps in which wsd falls. From a checkpoint of the stable part, a run may be "
        "resumed with another train.steps, decay_steps or decay_share: it is the run that had them from its start",
        changes=FREELY,
        above=0,
        most=1,
        needs={"schedule": ("wsd",)},
    )
    decay_shape: str = option(
        "linear",
        "how wsd falls: in a line, or by the root of the share of the decay that is done",
        choices=("linear", "sqrt"),
        needs={"schedule": ("wsd",)},
        changes=FREELY,
    )
    weight_decay: float = option(0.01, "decoupled, times the learning rate", least=0)
    decay_rules: tuple[tuple[Pattern, bool], ...] = option(
        ((NO_DECAY, False), (r".*", True)), "which parameters decay: ordered rules (pattern over names, yes or no)"
    )
    multipliers: tuple[tuple[Pattern, float], ...] = option(
        ((r".*", 1.0),),
        "factors on the rate: ordered rules (pattern, factor), times layer_decay for each layer below the head",
        least=0,
    )
    layer_decay: float = option(1.0, "ELECTRA: 0.8; ULMFiT: 1 / 2.6", above=0, most=1)
    clip_norm: float = option(1.0, "gradients are scaled to this global norm at most; 0: never", least=0)

    def direction(self, shapes: Mapping[str, tuple], decay: Mapping[str, Any]) -> optax.GradientTransformation:
        """The step for a learning rate of 1, upwards, over the nested tree of parameters.

        Args:
            shapes: {name: shape} of the parameters that train.
            decay: {name: bool, or bool per layer} of them: which decay.
        """
        raise NotImplementedError

    def decayed(self, decay: Mapping[str, Any]) -> list[optax.GradientTransformation]:
        """What adds weight decay to a direction, if there is any."""
        return [add_decay(self.weight_decay, decay)] if self.weight_decay else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments(Optimizer):
    """The options of Adam and its kin."""

    beta1: float = option(0.9, "decay of the first moment", least=0, below=1)
    beta2: float = option(0.999, "decay of the second moment", least=0, below=1)
    epsilon: float = option(1e-6, "added to the root of the second moment", above=0)


class _Optimizers(Registry):
    """Those of this package; and by the names of their functions, scale_by_radam, those of optax."""

    def __contains__(self, name):
        return super().__contains__(name) or _is_of_optax(name)

    def __getitem__(self, name):
        return _of_optax(name) if _is_of_optax(name) else super().__getitem__(name)


OPTIMIZERS = _Optimizers("optimizer.name", __package__)


def _is_of_optax(name):
    return str(name).startswith("scale_by_") and hasattr(optax, name)


@functools.cache
def _of_optax(name):
    """A class for a function of optax, whose options are the parameters of that function."""
    function = getattr(optax, name)
    parameters = inspect.signature(function).parameters.values()
    common = options.declared(Optimizer)
    fields = [
        (one.name, *_like(one.default, f"as of optax.{name}"))
        for one in parameters
        if isinstance(one.default, (bool, int, float, str)) and one.name not in common
    ]
    needs_more = any(one.default is one.empty or one.name == "learning_rate" for one in parameters)
    if needs_more or isinstance(function(), optax.GradientTransformationExtraArgs):
        raise ConfigError(f"optimizer.name={name}: optax.{name} is no optimizer that runs with options alone")

    def direction(self, shapes, decay):
        del shapes
        values = {field: getattr(self, field) for field, _, _ in fields}
        return optax.chain(per_layer(function(**values)), *self.decayed(decay))

    namespace = {"direction": direction}
    return dataclasses.make_dataclass(name, fields, bases=(Optimizer,), namespace=namespace, frozen=True, kw_only=True)


def _like(default, comment):
    """(type, field) of an option of optax, of which nothing is known but its default: numbers are not negative."""
    if isinstance(default, (bool, str)):
        return (bool if isinstance(default, bool) else Name), option(default, comment)
    return type(default), option(default, comment, least=min(0, default))


def add_decay(weight_decay: float, decay: Mapping[str, Any]) -> optax.GradientTransformation:
    """Adds weight_decay * parameter to the updates of the parameters, or layers, that decay."""
    factors = {name: weight_decay * np.asarray(value, np.float32) for name, value in decay.items()}

    def update(updates, state, params):
        flat, values = names.flatten(updates), names.flatten(params)
        decayed = {}
        for name, leaf in flat.items():
            factor = factors[name].reshape(-1, *[1] * (leaf.ndim - 1)) if factors[name].ndim else factors[name]
            decayed[name] = leaf + factor * values[name] if factor.any() else leaf
        return names.unflatten(decayed), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def per_layer(
    transformation: optax.GradientTransformation, only: Collection[str] | None = None
) -> optax.GradientTransformation:
    """Runs a transformation on each parameter by itself, and on each layer of a stacked parameter by itself.

    Args:
        transformation: what takes statistics over a whole parameter (Adafactor's scale and clipping, LAMB's norms).
        only: names of the parameters that it is for, the others pass; None: all.
    """

    def wrap(name):
        if only is not None and name not in only:
            return optax.identity()
        if names.is_stacked(name):
            return jax.vmap(transformation.init), jax.vmap(transformation.update)
        return transformation

    def init(params):
        return {name: wrap(name)[0](leaf) for name, leaf in names.flatten(params).items()}

    def update(updates, state, params):
        flat, new_state = {}, {}
        values = names.flatten(params)
        for name, leaf in names.flatten(updates).items():
            flat[name], new_state[name] = wrap(name)[1](leaf, state[name], values[name])
        return names.unflatten(flat), new_state

    return optax.GradientTransformation(init, update)
