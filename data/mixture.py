"""Which source each element of a mixed order is of, by index, and how its weights change during a run.

Sources are woven: the share that each has of any stretch is its weight, to an element or two. The weaving is Grain's
(`grain.MapDataset.mix`), of which the orders of runs are part. It is written out here because Grain looks elements up
one by one in Python, and does not say how many of each source come before one, which weights that change rest on.
"""

import numpy as np

from cloze.data.durations import to_steps
from cloze.errors import ConfigError

_SMALLEST = 100  # the proportion of the source with the least weight, as in Grain: weights are rounded to 1%
_EXACT = 1 << 24  # the sum of the proportions of weights that a schedule gives, which have no past to agree with
_MOST = 1 << 31  # the sum of all proportions, so that products of two fit int64


class Mixture:
    """An endless order in which several sources are mixed, each of them in an order of its own.

    Args:
        weights: of the sources, from the start.
        schedule: [(element from which other weights hold, these weights)], elements ascending; a weight may be 0.

    Raises:
        ConfigError: weights too far apart to be counted with.
    """

    def __init__(self, weights: list[float], schedule: list[tuple[int, list[float]]] = ()):
        stages = [(0, _as_grain(weights)), *((start, _exact(after)) for start, after in schedule)]
        if len(stages) > 1 and stages[1][0] == 0:
            del stages[0]
        self._starts = np.array([start for start, _ in stages], np.int64)
        self._proportions = np.array([proportions for _, proportions in stages], np.int64)  # [stages, sources]
        if self._proportions.sum(axis=1).max() >= _MOST:
            raise ConfigError(f"the weights of a mixture are too far apart: {list(weights)}; leave the smallest out")
        read = _weave(np.diff(self._starts), self._proportions[:-1])[0]
        self._before = np.concatenate([np.zeros_like(self._proportions[:1]), np.cumsum(read, axis=0)])

    def __call__(self, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n] each: the number of the source of each element, and its position in that source's order."""
        stage = np.searchsorted(self._starts, elements, side="right") - 1
        counts, sources = _weave(elements - self._starts[stage], self._proportions[stage])
        one = np.arange(len(elements))
        return sources, counts[one, sources] + self._before[stage, sources]

    def counts(self, element: int) -> np.ndarray:
        """int64 [sources]: how many elements of each come before one."""
        stage = np.searchsorted(self._starts, element, side="right") - 1
        elements = np.array([element - self._starts[stage]], np.int64)
        return _weave(elements, self._proportions[stage : stage + 1])[0][0] + self._before[stage]


def _weave(elements, proportions):
    """Weaves the first source with all others, these again, and so on.

    Args:
        elements: int64 [n].
        proportions: int64 [n, sources], of the order that each element is looked up in.

    Returns:
        (int64 [n, sources], how many of each source come before the element; int64 [n], the source that it is of).
    """
    before, behind, remaining = elements, elements + 1, proportions.sum(axis=1)
    counts, sources = np.zeros_like(proportions), np.zeros_like(elements)
    for source in range(proportions.shape[1]):
        others = remaining - proportions[:, source]
        rest_before, rest_behind = _share(before, others, remaining), _share(behind, others, remaining)
        counts[:, source] = before - rest_before
        sources[behind - rest_behind > counts[:, source]] = source
        before, behind, remaining = rest_before, rest_behind, others
    return counts, sources


def _share(elements, part, whole):
    """elements * part // whole; 0 where the whole is, of which nothing is left there."""
    times, rest = np.divmod(elements, np.maximum(whole, 1))
    return times * part + rest * part // np.maximum(whole, 1)


def _as_grain(weights):
    if min(weights) <= 0:
        raise ConfigError(f"the weights of a mixture must be positive, got {list(weights)}: leave sources out")
    scale = _SMALLEST / min(weights)
    return [int(weight * scale) for weight in weights]


def _exact(weights):
    scale = _EXACT / sum(weights)
    return [max(1, round(weight * scale)) if weight else 0 for weight in weights]


def schedule_of(config, sources: int) -> list[tuple[int, list[float]]]:
    """The (step, weights) of `data.mixture_schedule`, checked.

    Args:
        config: the configuration.
        sources: how many are mixed.

    Raises:
        ConfigError: names the entry that cannot be.
    """
    schedule, where = [], "data.mixture_schedule"
    if config.data.mixture_schedule and sources < 2:
        raise ConfigError(f"{where} changes the weights of a mixture, and data.source={config.data.source} is none")
    for when, weights in config.data.mixture_schedule:
        step = to_steps(
            when,
            name=where,
            batch_size=config.train.batch_size,
            tokens_per_row=config.data.sequence_length,
            steps_per_epoch=None,
        )
        if len(weights) != sources or not sum(weights) > 0:
            raise ConfigError(
                f"{where}: the weights {tuple(weights)} from {when!r} on must be {sources}, one for each part of "
                "data.source in its order, and not all 0"
            )
        if schedule and step <= schedule[-1][0]:
            raise ConfigError(f"{where}: {when!r} comes to step {step}, not behind step {schedule[-1][0]} before it")
        schedule.append((step, list(weights)))
    return schedule
