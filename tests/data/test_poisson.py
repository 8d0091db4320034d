"""Poisson sampling: each row is in each step by a chance of its own, and what fills batches up does not count."""

import numpy as np
import pytest
from scipy import stats

from cloze.data.batches import Batches
from cloze.data.poisson import Drawing
from cloze.errors import ConfigError

STEPS = 3000


class Rows:
    """A row source whose rows are their own indices, with the weights of an example and of its tokens."""

    def __init__(self, num_rows):
        self.num_rows = num_rows

    def rows(self, indices, epochs):
        n = len(indices)
        return {
            "labels": np.asarray(indices, np.int32),
            "label_weights": np.ones(n, np.float32),
            "target_weights": np.ones((n, 3), np.float32),
            "row_id": np.asarray(indices, np.int32),
            "epoch": np.asarray(epochs, np.int32),
        }


def batches(num_rows=50, batch_size=10, multiple=1, seed=0):
    return Batches([Rows(num_rows)], Drawing(num_rows, seed=seed, batch_size=batch_size, multiple=multiple))


@pytest.fixture(scope="module")
def drawn():
    """bool [STEPS, 50]: which rows each step holds."""
    made, found = batches(), np.zeros((STEPS, 50), bool)
    for step in range(STEPS):
        ids = made.batches(step)["row_id"]
        ids = ids[ids >= 0]
        assert len(set(ids)) == len(ids)
        found[step, ids] = True
    return found


def test_every_row_has_the_same_chance(drawn):
    assert stats.chisquare(drawn.sum(axis=0)).pvalue > 1e-3
    assert abs(drawn.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / drawn.size)


def test_sizes_are_binomial(drawn):
    """Were rows not drawn independently of each other, the sizes of steps would have another variance."""
    edges = np.arange(4, 18)
    counts = np.histogram(drawn.sum(axis=1), [-1, *edges, 99])[0]
    cumulated = np.array([0, *stats.binom.cdf(edges - 1, 50, 0.2), 1])
    assert stats.chisquare(counts, STEPS * np.diff(cumulated)).pvalue > 1e-3


def test_pairs_of_rows_and_steps_are_independent(drawn):
    between_rows = np.corrcoef(drawn.T)[np.triu_indices(50, 1)]
    assert np.abs(between_rows).max() < 5 / np.sqrt(STEPS)
    between_steps = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]
    assert abs(between_steps) < 4 / np.sqrt(drawn.size)


def test_filler_does_not_count():
    made = batches()
    sizes = set()
    for step in range(20):
        batch = made.batches(step)
        present = batch["row_id"] >= 0
        sizes.add(int(present.sum()))
        np.testing.assert_array_equal(batch["label_weights"], present)
        np.testing.assert_array_equal(batch["target_weights"], np.repeat(present[:, None], 3, axis=1))
        np.testing.assert_array_equal(batch["labels"][present], batch["row_id"][present])
        assert all(len(array) == made.size(0) for array in batch.values())
        assert batch["row"].tolist() == list(range(made.size(0))) and (batch["epoch"] == step // 5).all()
    assert len(sizes) > 5


def test_a_step_without_rows_is_all_filler():
    made = batches(num_rows=2, batch_size=1)
    empty = [step for step in range(40) if (made.batches(step)["row_id"] < 0).all()]
    assert 2 <= len(empty) <= 20  # a quarter of the steps
    assert not made.batches(empty[0])["label_weights"].any()


def test_step_and_seed_alone_decide_whoever_reads():
    made, apart = batches(multiple=4), batches(multiple=4)
    for step in (7, 0, 1000):
        whole = made.batches(step)
        for part in range(3):
            places = np.arange(made.size(0))[part::3]
            mine = apart.batches(step, places)
            for key, array in whole.items():
                np.testing.assert_array_equal(mine[key], array[places])
    assert (batches(seed=1).batches(0)["row_id"] != batches().batches(0)["row_id"]).any()
    with pytest.raises(ValueError, match="places must lie"):
        made.batches(0, np.array([made.size(0)]))


@pytest.mark.parametrize(("num_rows", "batch_size"), [(60_000, 256), (400_000, 32), (50, 49), (3, 1)])
def test_batches_overflow_practically_never(num_rows, batch_size):
    made = batches(num_rows, batch_size)
    assert stats.binom.sf(made.size(0), num_rows, batch_size / num_rows) < 1.01e-12
    assert made.size(0) <= min(num_rows, batch_size + 9 * np.sqrt(batch_size) + 16)
    assert made.order.sampling_probability * made.order.steps_per_epoch == pytest.approx(1)
    assert batches(num_rows, batch_size, multiple=8).size(0) == -(-made.size(0) // 8) * 8


def test_a_full_batch_is_every_row_in_every_step():
    made = batches(num_rows=12, batch_size=12, multiple=8)
    assert made.size(0) == 16 and made.order.sampling_probability == 1 and made.order.steps_per_epoch == 1
    for step in range(3):
        assert sorted(made.batches(step)["row_id"]) == [-1] * 4 + list(range(12))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ConfigError, match=r"train.batch_size=51 must lie in \[1, 50\]"):
        batches(batch_size=51)
