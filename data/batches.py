"""Batches by step: any step, and any part of one, at any time and on any number of processes."""

import collections
import concurrent.futures
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from cloze.errors import ConfigError, DataError


class Batches:
    """Random access to batches of rows.

    Args:
        sources: row sources, see data.rows; all give the same keys and shapes.
        order: see data.order.

    Raises:
        ConfigError: the sources' rows do not fit each other.
        DataError: a source has more rows than can be numbered.
    """

    def __init__(self, sources: list, order: Any):
        _check_alike(sources)
        self.sources, self.order = list(sources), order

    def size(self, step: int) -> int:
        """Rows of a step over all processes: always as many."""
        del step
        return self.order.size

    def batches(self, step: int, places: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Reads rows of a step.

        Args:
            step: the step, from 0.
            places: int [n], which rows of the global batch to read; None: all of them.

        Returns:
            The arrays of the sources' rows, each with a leading dimension of n in the order of `places`, and `row`
            int32 [n], the places themselves. The `row_id` of what fills the batch up is -1, and its weights are 0.
        """
        places = check_places(places, self.order.size)
        numbers, rows, epochs = self.order(int(step), places)
        batch, absent = {}, rows < 0
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            arrays = self.sources[number].rows(np.maximum(rows[chosen], 0), epochs[chosen])
            for key, array in arrays.items():
                if key not in batch:
                    batch[key] = np.empty((len(places), *array.shape[1:]), array.dtype)
                batch[key][chosen] = array
        if absent.any():
            batch["row_id"][absent] = -1
            for key in (key for key in batch if key.endswith("_weights")):
                batch[key][absent] = 0
        return batch | {"row": places.astype(np.int32)}


def check_places(places: np.ndarray | None, size: int) -> np.ndarray:
    """int64 [n]: places in a global batch of `size` rows, all of them if None.

    Raises:
        ValueError: one lies outside.
    """
    places = np.arange(size) if places is None else np.asarray(places, np.int64)
    if places.size and (places.min() < 0 or places.max() >= size):
        raise ValueError(f"places must lie in [0, {size}), got {places.min()} to {places.max()}")
    return places


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

    Use as a context manager, or `close()`.
    """

    def __init__(self, function: Callable[[int], Any], first_step: int, depth: int):
        self._function, self._steps = function, itertools.count(first_step)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
        self._results, self._closed = collections.deque(), False
        for _ in range(depth):
            self._begin_next()

    def _begin_next(self):
        self._results.append(self._thread.submit(self._function, next(self._steps)))

    def ready(self) -> bool:
        """Whether `next` need not wait."""
        return bool(self._results) and self._results[0].done()

    def next(self) -> Any:
        """Returns the result for the next step; waits for it if need be.

        Raises:
            RuntimeError: the prefetcher is closed.
            Exception: whatever the function raised for this step; it stays the next one.
        """
        with contextlib.suppress(concurrent.futures.CancelledError):
            if not self._closed:
                result = self._results[0].result()
                self._begin_next()
                self._results.popleft()
                return result
        raise RuntimeError("the prefetcher is closed")

    def close(self) -> None:
        """Stops the thread, which ends the step it is at; `next` raises from now on. May be called twice."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
