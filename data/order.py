"""Which rows step t holds: a pure function of (seed, t), so that nothing is kept between steps.

The rows of all steps are one infinite order: row r of step t is its element `t * size + r`. Every order has `size`,
rows of a step over all processes, and `steps_per_epoch`. It is called with a step and int64 [n], places in the global
batch of that step, and gives int64 [n] each: the number of a source, a row of that (-1: none, the place is filled up
with a row that does not count), and the epoch. `data.poisson.Drawing` is an order, too.

Grain gives permutations. `grain.MapDataset` itself would look every element up in Python, 4 to 100 times as slow as
what is here and in `data.mixture`.
"""

import functools
import math

import numpy as np

from cloze.data.mixture import Mixture
from cloze.errors import ConfigError

_ROUNDS = 4  # of the cipher behind index_shuffle, as in grain.MapDataset.shuffle
_SMALL = 1 << 16  # index_shuffle searches among this many numbers at least: thousands of times slower for tiny sources


class Epochs:
    """Epoch after epoch, without end; several sources are mixed by shares.

    Args:
        sizes: rows of each source.
        weights: shares of the rows that come from each; need not sum to 1.
        seed: decides the order.
        size: rows of a step.
        shuffle: each epoch of a source has a new order; False: all are in its own.
        schedule: [(step from which other weights hold, these weights)], see data.mixture.

    Attributes:
        steps_per_epoch: float, steps until the source with the largest weight has been read once, as `weights` are.

    Raises:
        ConfigError: the weights do not fit the sources.
    """

    def __init__(
        self, sizes: list[int], weights: list[float], *, seed: int, size: int, shuffle: bool, schedule: list = ()
    ):
        if len(sizes) != len(weights) or not sizes:
            raise ConfigError(f"a mixture needs a weight for each source, got {len(sizes)} and {len(weights)}")
        self._sizes, self.size = np.array(sizes, np.int64), size
        self._mixture = Mixture(weights, [(step * size, after) for step, after in schedule])
        self._orders = [_shuffled(count, seed, k) if shuffle else _in_order for k, count in enumerate(sizes)]
        largest = int(np.argmax(weights))
        self.steps_per_epoch = sizes[largest] * sum(weights) / weights[largest] / size

    def __call__(self, step: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sources, positions = self._mixture(step * self.size + places)
        epochs, within = np.divmod(positions, self._sizes[sources])
        rows = np.empty_like(within)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            rows[chosen] = self._orders[source](epochs[chosen], within[chosen])
        return sources, rows, epochs


class Once:
    """Each row once, every source in its own order, and the sources mixed so that all end together.

    So the first steps hold something of each. The last step is filled up.

    Args:
        sizes: rows of each source.
        size: rows of a step.

    Attributes:
        steps_per_epoch: int, steps until all have been read.
    """

    def __init__(self, sizes: list[int], size: int):
        self.size = size
        ends = np.cumsum(sizes)
        shares = np.concatenate([(np.arange(count) + 0.5) / count for count in sizes])
        mixed = np.argsort(shares, kind="stable")  # rows, counted through all sources
        self._sources = np.searchsorted(ends, mixed, side="right")
        self._rows = mixed - (ends - sizes)[self._sources]
        self.steps_per_epoch = math.ceil(len(mixed) / size)

    def __call__(self, step: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        elements = step * self.size + places
        present = elements < len(self._rows)
        elements = np.where(present, elements, 0)
        return self._sources[elements], np.where(present, self._rows[elements], -1), np.zeros_like(elements)


def _in_order(epochs, within):
    del epochs
    return within


def _shuffled(num_rows, seed, source):
    """A function: epochs [n], positions in the epoch [n] -> rows [n]; each epoch is a permutation of its own."""
    if num_rows <= _SMALL:

        @functools.lru_cache(maxsize=2)  # a batch may span two epochs, or many short ones that cost nothing to make
        def permutation(epoch):
            return np.random.default_rng([seed, source, epoch]).permutation(num_rows)

        def lookup(epoch, within):
            return permutation(epoch)[within]
    else:
        from grain.experimental import index_shuffle  # slow to import

        @functools.lru_cache(maxsize=4)
        def epoch_seed(epoch):
            return int(np.random.SeedSequence([seed, source, epoch]).generate_state(1)[0])

        def lookup(epoch, within):
            key = epoch_seed(epoch)
            return [index_shuffle(w, max_index=num_rows - 1, seed=key, rounds=_ROUNDS) for w in within.tolist()]

    def order(epochs, within):
        rows = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            rows[chosen] = lookup(epoch, within[chosen])
        return rows

    return order
