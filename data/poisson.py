"""Steps that hold every row by chance: what the accounting of private training relies on."""

import numpy as np

from cloze.errors import ConfigError

# Chance that a step draws more rows than a batch has room for; those beyond are left out. That is no longer the drawing
# that is accounted for, so it must be negligible against dp_delta over all steps. About 7 deviations above the mean.
OVERFLOW = 1e-12


class Drawing:
    """An order (data.order) of one source: each row is in each step with probability batch_size / count.

    Rows are independent of each other, and steps, too. What a step holds is a function of (seed, step) alone. It is
    filled up with rows that do not count.

    Args:
        count: rows of the source.
        seed: decides what is drawn.
        batch_size: mean number of rows in a step; `count`: every step holds all of them.
        multiple: the size of steps is a multiple of this (devices that share the rows, times microbatches).

    Attributes:
        size: rows of a step, those that do not count included.
        sampling_probability: float, of each row in each step.
        steps_per_epoch: float, steps until each row has been drawn once on average.

    Raises:
        ConfigError: the batch is larger than the source.
    """

    def __init__(self, count: int, *, seed: int, batch_size: int, multiple: int):
        from scipy import stats  # slow to import, and most runs are not private

        if not 1 <= batch_size <= count:
            raise ConfigError(
                f"train.batch_size={batch_size} must lie in [1, {count}], the number of training examples, of which "
                "private training draws each with the same chance; change it"
            )
        self._count, self._seed, self._batch_size = count, seed, batch_size
        self.sampling_probability = batch_size / count
        self.steps_per_epoch = count / batch_size
        capacity = int(stats.binom.isf(OVERFLOW, count, self.sampling_probability)) if batch_size < count else count
        self.size = -(-capacity // multiple) * multiple

    def __call__(self, step: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drawn, rows = self.rows(step), np.full(self.size, -1)
        rows[: len(drawn)] = drawn
        epoch = step * self._batch_size // self._count  # how often each has been drawn before, on average
        return np.zeros_like(places), rows[places], np.full_like(places, epoch)

    def rows(self, step: int) -> np.ndarray:
        """int64 [at most `size`]: the rows of a step. A binomial number, all sets of which are as likely."""
        if self._batch_size == self._count:
            return np.arange(self._count)
        random = np.random.default_rng([self._seed, step])
        drawn = random.binomial(self._count, self.sampling_probability)
        return random.choice(self._count, drawn, replace=False)[: self.size]
