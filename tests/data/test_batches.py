"""Batches by step: one order, whoever asks for which part of it and when."""

import threading
import time

import numpy as np
import pytest

from cloze.data.batches import Batches, Prefetcher
from cloze.data.order import _SMALL, Epochs, Once
from cloze.data.rows import Documents
from cloze.errors import ConfigError
from tests.data import fakes


class Numbers:
    """A row source whose rows are their own indices."""

    def __init__(self, num_rows, label=0, width=2):
        self.num_rows, self._label, self._width = num_rows, label, width

    def rows(self, indices, epochs):
        tokens = np.repeat(np.asarray(indices, np.int32)[:, None], self._width, axis=1)
        label = np.full(len(tokens), self._label, np.int32)
        return {"tokens": tokens, "source": label, "row_id": tokens[:, 0], "epoch": np.asarray(epochs, np.int32)}


def batches(sources, weights=None, batch_size=8, seed=0, shuffle=True, schedule=()):
    sizes, weights = [source.num_rows for source in sources], weights or [1.0] * len(sources)
    return Batches(sources, Epochs(sizes, weights, seed=seed, size=batch_size, shuffle=shuffle, schedule=schedule))


def stream(made, steps, key="row_id"):
    return np.concatenate([made.batches(step)[key] for step in range(steps)])


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("counts", [[30], [30, 500, 7]])
def test_rows_do_not_depend_on_the_number_of_processes(parts, counts):
    sources = [Numbers(count, k) for k, count in enumerate(counts)]
    made, apart = batches(sources), batches(sources)
    for step in (0, 3, 1000):
        whole = made.batches(step)
        for part in range(parts):
            places = np.arange(8)[part::parts]  # as devices of a mesh may own them
            mine = apart.batches(step, places)
            for key in whole:
                np.testing.assert_array_equal(mine[key], whole[key][places])
            np.testing.assert_array_equal(mine["row"], places)


def test_real_rows_of_a_corpus_split_over_processes(tmp_path):
    split = fakes.split_of_lengths([30, 12, 40, 9, 22, 30, 61], tmp_path)
    made = batches([Documents(length=32, start=(1,), end=(2,)).plan(split)], batch_size=4)
    whole, half = made.batches(5), made.batches(5, np.array([3, 1]))
    assert whole["tokens"].shape == (4, 32)
    for key in whole:
        np.testing.assert_array_equal(half[key], whole[key][[3, 1]])


@pytest.mark.parametrize("count", [1, 2, 10, 37, 1000])
def test_every_row_once_an_epoch_and_reshuffled(count):
    made = batches([Numbers(count)], batch_size=7)
    steps = -(-3 * count // 7)
    rows, epochs = stream(made, steps), stream(made, steps, "epoch")
    orders = [rows[epoch * count : (epoch + 1) * count] for epoch in range(3)]
    for epoch, order in enumerate(orders):
        assert sorted(order) == list(range(count))
        assert (epochs[epoch * count : (epoch + 1) * count] == epoch).all()
    if count >= 10:
        assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
        assert (orders[0] != np.arange(count)).any()


def test_large_sources_are_permuted_too():
    count = _SMALL + 3
    made = batches([Numbers(count)], batch_size=count)
    first, second = made.batches(0)["row_id"], made.batches(1)["row_id"]
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.02
    assert (first == second).sum() < 20  # two random permutations agree in one place on average


def test_a_step_does_not_depend_on_the_steps_before():
    sources = [Numbers(50), Numbers(_SMALL + 9)]
    ran = batches(sources, [0.3, 0.7])
    for step in range(20):
        batch = ran.batches(step)
    resumed = batches(sources, [0.3, 0.7]).batches(19)
    for key in batch:
        np.testing.assert_array_equal(resumed[key], batch[key])


def test_seeds_and_sources_have_orders_of_their_own():
    orders = [stream(batches([Numbers(100)], seed=seed), 12) for seed in range(3)]
    assert all((orders[a] != orders[b]).any() for a, b in [(0, 1), (0, 2), (1, 2)])
    epochs = [stream(batches([Numbers(96)], seed=seed), 24).reshape(2, 96) for seed in range(3)]
    assert all((epochs[seed][1] != epochs[seed + 1][0]).any() for seed in range(2))  # epochs are not shifted seeds
    both = batches([Numbers(100, 0), Numbers(100, 1)])
    rows, source = stream(both, 25), stream(both, 25, "source")
    assert (rows[source == 0] != rows[source == 1]).any()


def test_without_shuffling_rows_come_in_order():
    made = batches([Numbers(11)], shuffle=False)
    assert stream(made, 3).tolist() == (list(range(11)) * 3)[:24]
    assert stream(made, 3, "epoch").tolist() == [0] * 11 + [1] * 11 + [2] * 2


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [3, 2, 1], [1, 1, 98]])
def test_mixing_shares(weights):
    made = batches([Numbers(40 + k, k) for k in range(3)], weights, batch_size=25)
    source = stream(made, 80, "source")
    n, share = len(source), np.array(weights) / sum(weights)
    counts = np.bincount(source, minlength=3)
    assert (np.abs(counts - n * share) <= 0.02 * n * share + 2).all()  # closer than chance would bring them
    for prefix in (100, 500, 1000):  # at every time, not only in the end
        assert (np.abs(np.bincount(source[:prefix], minlength=3) - prefix * share) <= 0.02 * prefix + 2).all()


def test_each_source_of_a_mixture_is_read_evenly():
    made = batches([Numbers(40, 0), Numbers(10, 1)], [0.5, 0.5], batch_size=10)
    rows, source = stream(made, 16), stream(made, 16, "source")
    assert (np.bincount(rows[source == 0]) == 2).all()
    assert (np.bincount(rows[source == 1]) == 8).all()


def test_each_row_once_and_every_step_holds_something_of_each_source():
    order = Once([30, 10, 2], 8)
    assert order.steps_per_epoch == 6
    steps = [order(step, np.arange(8)) for step in range(6)]
    sources, rows = (np.concatenate([step[k] for step in steps]) for k in range(2))
    assert rows[42:].tolist() == [-1] * 6 and rows[:42].min() == 0
    for source, count in enumerate((30, 10, 2)):
        mine = sources[:42] == source
        assert rows[:42][mine].tolist() == list(range(count))  # each in its own order
        for step in range(5):
            assert abs(mine[8 * step : 8 * step + 8].sum() - count * 8 / 42) <= 1


def test_steps_per_epoch():
    assert batches([Numbers(100)]).order.steps_per_epoch == 12.5
    assert batches([Numbers(100), Numbers(60)], [3, 1]).order.steps_per_epoch == pytest.approx(100 / 0.75 / 8)


def test_errors_name_the_cause():
    with pytest.raises(ConfigError, match="source 0 gives .* source 1"):
        batches([Numbers(5), Numbers(5, width=3)])
    with pytest.raises(ConfigError, match="positive"):
        batches([Numbers(5), Numbers(5)], [1.0, 0.0])
    with pytest.raises(ConfigError, match="a weight for each source"):
        batches([Numbers(5)], [1.0, 1.0])
    with pytest.raises(ValueError, match="places"):
        batches([Numbers(5)]).batches(0, [8])


def test_prefetcher_gives_results_in_order_from_a_thread():
    threads = set()

    def function(step):
        threads.add(threading.current_thread())
        return step * step

    with Prefetcher(function, 3, depth=2) as results:
        assert [results.next() for _ in range(20)] == [step * step for step in range(3, 23)]
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_prefetcher_stays_within_its_depth():
    begun = []
    with Prefetcher(begun.append, 0, depth=3) as results:
        deadline = time.monotonic() + 5
        while len(begun) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert begun == [0, 1, 2]
        results.next()
        while len(begun) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert begun == [0, 1, 2, 3]


def test_prefetcher_raises_what_the_function_raised_in_its_place():
    def function(step):
        if step == 2:
            raise KeyError("step 2")
        return step

    with Prefetcher(function, 0, depth=4) as results:
        assert [results.next(), results.next()] == [0, 1]
        for _ in range(2):  # asking again does not hang
            with pytest.raises(KeyError, match="step 2"):
                results.next()


@pytest.mark.parametrize("waiting", [False, True])
def test_closing_stops_the_thread_and_wakes_a_waiting_reader(waiting):
    go = threading.Event()
    if not waiting:
        go.set()
    results = Prefetcher(lambda step: go.wait(), 0, depth=2)
    caught = []

    def reader():
        try:
            while True:
                results.next()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    time.sleep(0.05)
    threading.Timer(0.05, go.set).start()
    results.close()
    thread.join(timeout=5)
    assert not thread.is_alive() and caught and not any(t.name.startswith("prefetch") for t in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        results.next()
    results.close()
