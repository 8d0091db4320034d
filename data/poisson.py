"""Batches in which every row of a source is by chance: what the accounting of private training relies on."""

import numpy as np
from scipy import stats

from cloze.errors import ConfigError, DataError

# Chance that a step draws more rows than a batch has room for; those beyond are left out. That is no longer the drawing
# that is accounted for, so it must be negligible against dp_delta over all steps. About 7 deviations above the mean.
OVERFLOW = 1e-12


class Drawing:
    """Which rows a step holds: each with probability batch_size / count, independently of all others.

    It is a function of (seed, step) alone.

    Args:
        count: rows of the source.
        seed: decides what is drawn.
        batch_size: mean number of rows in a step; `count`: every step holds all of them.
        multiple: the size of batches is a multiple of this (devices that share the rows, times microbatches).

    Attributes:
        capacity: rows of a batch, those that do not count included.
        sampling_probability: float, of each row in each step.
        steps_per_epoch: float, steps until each row has been drawn once on average.

    Raises:
        ConfigError: the batch is larger than the source.
    """

    def __init__(self, count, *, seed, batch_size, multiple):
        if not 1 <= batch_size <= count:
            raise ConfigError(
                f"train.batch_size={batch_size} must lie in [1, {count}], the number of training examples, of which "
                "private training draws each with the same chance; change it"
            )
        self._count, self._seed, self._batch_size = count, seed, batch_size
        self.sampling_probability = batch_size / count
        self.steps_per_epoch = count / batch_size
        capacity = int(stats.binom.isf(OVERFLOW, count, self.sampling_probability)) if batch_size < count else count
        self.capacity = -(-capacity // multiple) * multiple

    def __call__(self, step):
        """int64 [at most `capacity`]: the rows of a step. A binomial number, all sets of which are as likely."""
        if self._batch_size == self._count:
            return np.arange(self._count)
        random = np.random.default_rng([self._seed, step])
        drawn = random.binomial(self._count, self.sampling_probability)
        return random.choice(self._count, drawn, replace=False)[: self.capacity]

    def epoch(self, step):
        """How often each row has been drawn before a step, on average, rounded down."""
        return step * self._batch_size // self._count


class PoissonBatches:
    """Random access to batches of a `Drawing`.

    Batches are filled up with rows that do not count: all their weights are 0, and their `row_id` is -1.

    Args:
        source: a row source as `data.rows.plan` gives it, or of labelled examples; one example a row.
        seed, batch_size, multiple: see `Drawing`.

    Raises:
        ConfigError: the batch is larger than the source.
        DataError: rows hold several examples each, or have no weights.
    """

    def __init__(self, source, *, seed, batch_size, multiple):
        self.drawing = Drawing(source.num_rows, seed=seed, batch_size=batch_size, multiple=multiple)
        _check_rows(source)
        self._source = source
        self.sampling_probability = self.drawing.sampling_probability
        self.steps_per_epoch = self.drawing.steps_per_epoch

    def size(self, step):
        """Rows of a step over all processes: always as many."""
        del step
        return self.drawing.capacity

    def batches(self, step, places=None):
        """Reads the rows of a step.

        Args:
            step: the step, from 0.
            places: int [n], which rows of the global batch to read; None: all of them.

        Returns:
            The arrays of the source's rows, each with a leading dimension of n in the order of `places`, and `row`
            int32 [n], the places themselves.
        """
        size = self.drawing.capacity
        places = np.arange(size) if places is None else np.asarray(places, np.int64)
        if places.size and (places.min() < 0 or places.max() >= size):
            raise ValueError(f"places must lie in [0, {size}), got {places.min()} to {places.max()}")
        drawn = self.drawing(step)
        # What fills up is read like the rest, so that it makes no text longer; np.resize repeats, and makes none zeros.
        indices = np.resize(drawn, size)[places]
        rows = dict(self._source.rows(indices, np.full(len(indices), self.drawing.epoch(step), np.int64)))
        filler = places >= len(drawn)
        rows["row_id"] = np.where(filler, -1, rows["row_id"]).astype(np.int32)
        for name in _weights(rows):
            rows[name] = np.where(filler.reshape(-1, *[1] * (rows[name].ndim - 1)), 0, rows[name])
        return rows | {"row": places.astype(np.int32)}


def _weights(rows):
    return [name for name in rows if name.endswith("_weights")]


def _check_rows(source):
    zero = np.zeros(1, np.int64)
    rows = source.rows(zero, zero)
    if rows["row_id"].ndim > 1:
        raise DataError(
            "private training clips the gradient of each example, but rows hold several: set task.batching to pad or "
            "buckets"
        )
    if not _weights(rows):
        raise DataError(
            "private training fills its batches up with rows that do not count, but these rows have no weights: it "
            "needs labelled examples (task.name)"
        )
