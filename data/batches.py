"""Batches by step: which rows step t trains on is a pure function of (seed, t), on any number of processes.

The rows of all steps are one infinite order; row r of step t is its element `t * batch_size + r`. A source is read
epoch after epoch, each in a new order. Grain gives the order and the mixture of sources, both by index, so nothing is
kept between steps and any step can be had first.
"""

import functools
import queue
import sys
import threading

import grain
import numpy as np
from grain.experimental import index_shuffle

from cloze.errors import ConfigError, DataError

_ROUNDS = 4  # of the cipher behind index_shuffle, as in grain.MapDataset.shuffle
_SMALL = 1 << 16  # index_shuffle searches among this many numbers at least: thousands of times slower for tiny sources


class Batches:
    """Random access to the batches of a run.

    Args:
        sources: row sources as `data.rows.plan` gives them; all must give the same keys and shapes.
        weights: shares of the rows that come from each source; need not sum to 1.
        seed: decides the order.
        batch_size: rows per step over all processes.
        shuffle: False reads every source in order.

    Attributes:
        steps_per_epoch: float, steps until the source with the largest weight has been read once.

    Raises:
        ConfigError: the weights do not fit the sources, or the sources' rows do not fit each other.
    """

    def __init__(self, sources, weights, *, seed, batch_size, shuffle):
        self._order = Order([source.num_rows for source in sources], weights, seed=seed, shuffle=shuffle)
        _check_alike(sources)
        self._sources, self._batch_size = list(sources), batch_size
        self.steps_per_epoch = self._order.epoch / batch_size

    def size(self, step):
        """Rows of a step over all processes: always as many."""
        del step
        return self._batch_size

    def batches(self, step, places=None):
        """Reads the rows of a step.

        Args:
            step: the step, from 0.
            places: int [n], which rows of the global batch to read; None: all of them.

        Returns:
            The arrays of the sources' rows, each with a leading dimension of n in the order of `places`, and `row`
            int32 [n], the places themselves.
        """
        places = np.arange(self._batch_size) if places is None else np.asarray(places, np.int64)
        if places.size and (places.min() < 0 or places.max() >= self._batch_size):
            raise ValueError(f"places must lie in [0, {self._batch_size}), got {places.min()} to {places.max()}")
        sources, numbers, epochs = self._order(step * self._batch_size + places)
        batch = {}
        for source in np.unique(sources).tolist():
            chosen = np.flatnonzero(sources == source)
            rows = self._sources[source].rows(numbers[chosen], epochs[chosen])
            for key, value in rows.items():
                if key not in batch:
                    batch[key] = np.empty((len(places), *value.shape[1:]), value.dtype)
                batch[key][chosen] = value
        return batch | {"row": places.astype(np.int32)}


class Order:
    """The infinite order of the rows of several sources.

    Args:
        sizes: rows of each source.
        weights: shares of the rows that come from each; need not sum to 1.
        seed: decides the order.
        shuffle: False reads every source in order.

    Attributes:
        epoch: float, elements of the order until the source with the largest weight has been read once.

    Raises:
        ConfigError: the weights do not fit the sources.
    """

    def __init__(self, sizes, weights, *, seed, shuffle):
        if len(sizes) != len(weights) or not sizes:
            raise ConfigError(f"a mixture needs a weight for each source, got {len(sizes)} and {len(weights)}")
        if min(weights) <= 0:
            raise ConfigError(f"the weights of a mixture must be positive, got {list(weights)}: leave sources out")
        self._sizes, self._mixture = np.array(sizes, np.int64), _mixture(weights)
        self._orders = [_shuffled(size, seed, k) if shuffle else _in_order for k, size in enumerate(sizes)]
        largest = int(np.argmax(weights))
        self.epoch = sizes[largest] * sum(weights) / weights[largest]

    def __call__(self, elements):
        """Elements int64 [n] of the order -> numbers of their sources, of the rows in these, and of the epochs."""
        sources, positions = self._mixture(elements)
        epochs, within = np.divmod(positions, self._sizes[sources])
        rows = np.empty_like(within)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            rows[chosen] = self._orders[source](epochs[chosen], within[chosen])
        return sources, rows, epochs


def _mixture(weights):
    """A function: elements int64 [n] of the mixed order -> number of the source, and position in its own order."""
    if len(weights) == 1:
        return lambda elements: (np.zeros_like(elements), elements)

    def sourced(number):
        return lambda _, position: (number, position)

    endless = [grain.MapDataset.range(sys.maxsize).map_with_index(sourced(k)) for k in range(len(weights))]
    mixed = grain.MapDataset.mix(endless, list(weights))

    def lookup(elements):
        found = np.array([mixed[element] for element in elements.tolist()], np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    return lookup


def _in_order(epochs, within):
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


def _check_alike(sources):
    """Rows of a mixture lie side by side in one array."""
    for number, source in enumerate(sources):
        if source.num_rows >= 1 << 31:
            raise DataError(f"source {number} has {source.num_rows} rows, more than the 2^31 that can be numbered")
    if len(sources) == 1:
        return
    zero = np.zeros(1, np.int64)
    shapes = [{key: value.shape for key, value in source.rows(zero, zero).items()} for source in sources]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ConfigError(f"the sources of a mixture differ: source 0 gives {shapes[0]}, source {number} {shape}")


class Prefetcher:
    """Computes `function(step)` for successive steps on one thread, at most `depth` results ahead.

    `next()` returns the results in order and raises what the function raised. Use as a context manager, or `close()`.
    """

    def __init__(self, function, first_step, depth):
        self._function, self._first_step = function, first_step
        self._room = threading.Semaphore(depth)
        self._results = queue.SimpleQueue()
        self._stop = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def next(self):
        """Returns the result for the next step; waits for it if need be."""
        if self._failure is None:
            result, self._failure = self._results.get()
            self._room.release()
        if self._failure is not None:
            raise self._failure
        return result

    def close(self):
        """Stops the thread, which ends the step it is at; `next` raises from now on. May be called twice."""
        self._stop.set()
        self._room.release()
        self._failure = self._failure or RuntimeError("the prefetcher is closed")
        self._results.put((None, self._failure))  # wakes a waiting next()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _work(self):
        step = self._first_step
        while True:
            self._room.acquire()
            if self._stop.is_set():
                return
            try:
                self._results.put((self._function(step), None))
            except BaseException as error:  # whatever it is, it belongs to the thread that asks for the result
                self._results.put((None, error))
                return
            step += 1
