"""Learning rate by step: a schedule is a function here, known by its name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError

SCHEDULES: dict[str, Callable] = {}  # {name: (step f32, Times) -> share of the peak f32}
FALLING = ("linear", "cosine", "slanted_triangular", "wsd")  # they end at optimizer.decay_steps


@dataclasses.dataclass(frozen=True)
class Times:
    """What the steps of a schedule are.

    Attributes:
        warmup: steps of warm-up; 0: none.
        end: step at which the schedule has fallen, warm-up included.
        final: the last value as a share of the peak.
        decay_share: share of the steps up to the end in which `wsd` falls.
        decay_shape: how it falls, linear or sqrt.
    """

    warmup: float
    end: float
    final: float
    decay_share: float = 0.1
    decay_shape: str = "linear"

    @property
    def decay_start(self) -> float:
        """Step at which `wsd` begins to fall."""
        return self.end - round(self.decay_share * self.end)


def schedule(function: Callable) -> Callable:
    """Makes a function known by its name."""
    SCHEDULES[function.__name__] = function
    return function


def warmed_up(function: Callable) -> Callable:
    """A schedule that first rises linearly: from peak / warmup at step 0 to the peak at step warmup - 1."""

    def rises(step, times):
        return jnp.where(step < times.warmup, (step + 1) / max(times.warmup, 1), function(step, times))

    rises.__name__ = function.__name__
    return schedule(rises)


@warmed_up
def constant(step, times):
    return jnp.ones_like(step)


@warmed_up
def linear(step, times):
    """On the line from the peak at step 0 to the final value, as BERT's reference has it.

    So the rate jumps down slightly where warm-up ends.
    """
    return times.final + (1 - times.final) * (1 - jnp.clip(step / times.end, 0, 1))


@warmed_up
def cosine(step, times):
    """Begins to fall where warm-up ends."""
    progress = jnp.clip((step - times.warmup) / (times.end - times.warmup), 0, 1)
    return times.final + (1 - times.final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))


@warmed_up
def wsd(step, times):
    """Warm-up, stable, decay (Hu et al. 2024): at the peak until `decay_start`, then down to the final value.

    With sqrt it falls by the root of the share of the decay that is done (Hägele et al. 2024, section 3).
    """
    progress = jnp.clip((step - times.decay_start) / (times.end - times.decay_start), 0, 1)
    fallen = jnp.sqrt(progress) if times.decay_shape == "sqrt" else progress
    return times.final + (1 - times.final) * (1 - fallen)


@schedule
def inverse_sqrt(step, times):
    """sqrt(warmup / max(step, warmup)). T5: peak 0.01 and warmup 10,000 are 1 / sqrt(max(step, 1e4))."""
    warmup = max(times.warmup, 1)
    return jnp.sqrt(warmup / jnp.maximum(step + 1, warmup))


@schedule
def slanted_triangular(step, times):
    """From the final value up to the peak at the end of warm-up and back, linearly.

    Howard and Ruder 2018, section 3.2: a tenth of the steps is warm-up, the final value is 1/32.
    """
    rising, falling = step / max(times.warmup, 1), (times.end - step) / (times.end - times.warmup)
    return times.final + (1 - times.final) * jnp.clip(jnp.minimum(rising, falling), 0, 1)


def make_schedule(
    name: str, peak: float, *, warmup_steps: int, decay_steps: int, final_fraction: float, **decay: Any
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """The learning rate as a function of the step, counted from 0.

    Args:
        name: one of SCHEDULES.
        peak: highest rate.
        warmup_steps: steps of warm-up; 0: none.
        decay_steps: step at which a schedule ends that falls, warm-up included.
        final_fraction: its last value as a fraction of the peak.
        **decay: decay_share and decay_shape, see `Times`.

    Returns:
        A function of an int array, f32.

    Raises:
        ConfigError: the schedule ends before its warm-up.
    """
    if name in FALLING and decay_steps <= warmup_steps:
        raise ConfigError(
            f"optimizer.schedule={name} ends at step {decay_steps}, but warm-up lasts until {warmup_steps}: lower "
            "optimizer.warmup_steps or raise optimizer.decay_steps (train.steps)"
        )
    times = Times(float(warmup_steps), float(decay_steps), final_fraction, **decay)  # tokens may not fit 32 bits
    if name == "wsd" and not warmup_steps <= times.decay_start < decay_steps:
        raise ConfigError(
            f"optimizer.schedule=wsd would fall from step {times.decay_start:.0f} to {decay_steps}, and warm-up lasts "
            f"until {warmup_steps}: change optimizer.decay_share, warmup_steps or decay_steps (train.steps)"
        )
    return lambda step: peak * SCHEDULES[name](jnp.asarray(step, jnp.float32), times)
