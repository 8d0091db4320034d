"""Durations: a number of steps, or a string with a unit."""

import math
import re

from cloze.errors import ConfigError

_PATTERN = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(steps?|epochs?|tokens|examples)?\s*")


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
    match = _PATTERN.fullmatch(str(value)) if isinstance(value, (int, float, str)) else None
    if match is None or isinstance(value, bool):
        raise ConfigError(
            f'{name}={value!r} is not a duration: write steps (1000) or "2 epochs", "1e9 tokens", "5000 examples"'
        )
    try:
        amount = float(match[1])
    except ValueError:
        raise ConfigError(f"{name}={value!r}: {match[1]!r} is not a number") from None
    unit = (match[2] or "steps").rstrip("s")
    if unit == "epoch":
        if steps_per_epoch is None:
            raise ConfigError(f"{name}={value!r}: this data has no epochs; give steps or tokens")
        amount *= steps_per_epoch
    elif unit == "example":
        amount /= batch_size
    elif unit == "token":
        amount /= batch_size * tokens_per_row
    return math.ceil(amount - 1e-9)
