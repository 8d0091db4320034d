"""Durations: a number of steps, or a string with a unit."""

import math

from cloze.errors import ConfigError
from cloze.options import Declared, check_value
from cloze.value_types import DURATION, Duration

MOST_STEPS = 2**31 - 1  # as a state counts them


def to_steps(value, *, name, batch_size, tokens_per_row, steps_per_epoch):
    """The number of steps of a duration.

    Args:
        value: steps as a number, or a string such as "2 epochs", "1e9 tokens", "5000 examples", "100 steps".
        name: the option, for messages.
        batch_size: rows a step.
        tokens_per_row: tokens of a row as published figures count them: those that the first stack sees.
        steps_per_epoch: steps in which the data is read once (a float), or None where that is not known.

    Returns:
        int, rounded up so that at least the duration passes.

    Raises:
        ConfigError: not a duration.
    """
    check_value(value, Duration, Declared(""), name)
    match = DURATION.fullmatch(str(value))
    amount = float(match[1])
    unit = (match[2] or "steps").rstrip("s")
    if unit == "epoch":
        if steps_per_epoch is None:
            raise ConfigError(f"{name}={value!r}: this data has no epochs; give steps or tokens")
        amount *= steps_per_epoch
    elif unit == "example":
        amount /= batch_size
    elif unit == "token":
        amount /= batch_size * tokens_per_row
    if not amount <= MOST_STEPS:
        raise ConfigError(f"{name}={value!r} comes to {amount:.3g} steps, at most {MOST_STEPS} can be counted")
    return math.ceil(amount - 1e-9)
