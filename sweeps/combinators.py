"""What a sweep file combines its runs with.

A run is a dict: "config" names its config file with arguments, every other key an option of the configuration. A list
is several values of a key, in turn; anything else, a tuple as well, is one value. Every combinator gives a list of
runs, and takes such lists as parts:

    product({"config": "configs/bert.py:tiny", "objective.mask_rate": [0.15, 0.4]}, seed=[0, 1, 2])    # six runs
    product(zip_({"model.width": [128, 256], "model.heads": [2, 4]}), config="configs/gpt2.py:tiny")    # two
    chain(product(config="configs/bert.py:tiny"), product(config="configs/electra.py:tiny"))            # two
    product(sample(20, {"optimizer.learning_rate": log_uniform(1e-4, 1e-2)}), config="configs/demo.py")  # twenty
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cloze.errors import ConfigError

Run = dict[str, Any]
Part = Mapping[str, Any] | Sequence[Run]
DIGITS = 3  # significant ones of a number that is drawn: they stand in the names of runs
MOST_DRAWS = 100  # for each run of a sample, lest one of too few values never ends


def product(*parts: Part, **axes: Any) -> list[Run]:
    """Every combination of the values; the last key changes fastest.

    Args:
        parts: {key: value, or a list of values}, or runs that another combinator has given.
        axes: more keys, those without a dot.

    Raises:
        ConfigError: two parts give the same key, a list is empty, or a part is something else.
    """
    return [_merged(one) for one in itertools.product(*_axes(parts, axes))]


def zip_(*parts: Part, **axes: Any) -> list[Run]:
    """The first values of all lists, then the second ones, and so on; single values are in all runs.

    Args:
        parts, axes: as of `product`.

    Raises:
        ConfigError: lists of several lengths, or as of `product`.
    """
    found = _axes(parts, axes)
    lengths = {len(axis) for axis in found} - {1}
    if len(lengths) > 1:
        raise ConfigError(
            f"zip_ is given lists of {', '.join(map(str, sorted(lengths)))} values: make them equally long"
        )
    count = max(lengths, default=1)
    return [_merged(axis[n % len(axis)] for axis in found) for n in range(count if found else 0)]


def chain(*parts: Part) -> list[Run]:
    """All runs of all parts, one part after the other; a mapping is a product.

    Raises:
        ConfigError: as of `product`.
    """
    return [run for part in parts for run in product(part)]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What `sample` draws a value from.

    Attributes:
        draw: (numpy generator) -> a value.
    """

    draw: Callable[[np.random.Generator], Any]


def uniform(low: float, high: float) -> Distribution:
    """Numbers between two, all as likely, to three significant digits.

    Raises:
        ConfigError: they are not in order.
    """
    _check_order("uniform", low, high, -math.inf)
    return Distribution(lambda generator: _rounded(generator.uniform(low, high)))


def log_uniform(low: float, high: float) -> Distribution:
    """Numbers between two above 0 whose logarithms are all as likely, to three significant digits.

    Raises:
        ConfigError: they are not in order, or not above 0.
    """
    _check_order("log_uniform", low, high, 0.0)
    return Distribution(lambda generator: _rounded(math.exp(generator.uniform(math.log(low), math.log(high)))))


def choice(*values: Any) -> Distribution:
    """One of some values, all as likely.

    Raises:
        ConfigError: there is none.
    """
    if not values:
        raise ConfigError("choice needs at least one value")
    return Distribution(lambda generator: values[int(generator.integers(len(values)))])


def sample(count: int, space: Mapping[str, Any], seed: int = 0) -> list[Run]:
    """Different runs whose values are drawn.

    A value depends on the seed, the number of the draw and its key alone: with a larger count the first runs stay, with
    another key beside it a key's values stay.

    Args:
        count: of runs.
        space: {key: a Distribution, or one value for all}.
        seed: another one draws others.

    Raises:
        ConfigError: the space has fewer different runs, as far as was drawn.
    """
    found: list[Run] = []
    for number in range(MOST_DRAWS * count):
        drawn = {key: _drawn(value, f"{seed}/{number}/{key}") for key, value in space.items()}
        if drawn not in found:
            found.append(drawn)
        if len(found) == count:
            return found
    raise ConfigError(f"sample is asked for {count} runs and finds {len(found)} different ones: ask for fewer")


def _drawn(value, place):
    if not isinstance(value, Distribution):
        return value
    bits = hashlib.blake2b(place.encode(), digest_size=16).digest()
    return value.draw(np.random.default_rng(list(bits)))


def _rounded(number):
    return float(f"{number:.{DIGITS}g}")


def _check_order(name, low, high, least):
    if not least < low < high < math.inf:
        above = " above 0" if least == 0 else ""
        raise ConfigError(f"{name}({low}, {high}) needs two numbers{above}, the smaller one first")


def _axes(parts, axes):
    """[the runs of each axis, each with the keys that it decides]."""
    found = []
    for part in (*parts, axes):
        if isinstance(part, Mapping):
            found += [_axis(key, value) for key, value in part.items()]
        elif isinstance(part, (list, tuple)) and all(isinstance(run, Mapping) for run in part):
            found.append([dict(run) for run in part])
        else:
            raise ConfigError(f"{part!r} is neither a dict of options nor a list of runs")
    return found


def _axis(key, value):
    if isinstance(value, Distribution):
        raise ConfigError(f"{key} is to be drawn: give it to sample(count, {{{key!r}: ...}})")
    if isinstance(value, list) and not value:
        raise ConfigError(f"{key} has an empty list of values: no run is left")
    return [{key: one} for one in value] if isinstance(value, list) else [{key: value}]


def _merged(parts):
    found: Run = {}
    for part in parts:
        if twice := sorted(found.keys() & part.keys()):
            raise ConfigError(f"{twice[0]} is given twice: leave it to one part")
        found |= part
    return found
