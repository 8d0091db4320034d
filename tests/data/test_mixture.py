"""Mixtures of sources: woven as Grain does, with weights that change, and each source read in its own order."""

import sys

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze.configs import base
from cloze.data.mixture import Mixture, schedule_of
from cloze.data.order import Epochs
from cloze.errors import ConfigError

WEIGHTS = st.lists(st.floats(0.01, 1), min_size=2, max_size=5)
SOME = st.floats(0, 1).map(lambda weight: round(weight, 2))


@settings(max_examples=15, deadline=None)
@given(WEIGHTS, st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_elements_are_those_of_grain(weights, elements):
    def numbered(source):
        return grain.MapDataset.range(sys.maxsize).map_with_index(lambda _, position: (source, position))

    mixed = grain.MapDataset.mix([numbered(source) for source in range(len(weights))], weights)
    ours = Mixture(weights)(np.array(elements))
    np.testing.assert_array_equal(np.stack(ours, axis=1), [mixed[element] for element in elements])


@st.composite
def schedules(draw):
    """(weights, [(step, weights)], rows of a step)."""
    sources = draw(st.integers(2, 4))
    some = st.lists(SOME, min_size=sources, max_size=sources).filter(sum)
    steps = sorted(draw(st.sets(st.integers(0, 60), max_size=4)))
    return [draw(st.integers(1, 5)) for _ in range(sources)], [(s, draw(some)) for s in steps], draw(st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_counts_are_the_integral_of_the_weights(given_schedule):
    """At every step, to 1% of the first weights, which are rounded as Grain's, and 2 rows for each change."""
    weights, schedule, size = given_schedule
    mixture = Mixture(weights, [(step * size, after) for step, after in schedule])
    sources, _ = mixture(np.arange(80 * size))
    read = np.cumsum(np.eye(len(weights), dtype=int)[sources].reshape(80, size, -1).sum(axis=1), axis=0)
    current, expected = np.array(weights, float), np.zeros(len(weights))
    for step in range(80):
        for start, after in schedule:
            if start <= step:
                current = np.array(after)
        expected += size * current / current.sum()
        np.testing.assert_array_equal(mixture.counts((step + 1) * size), read[step])
        changes = sum(start <= step for start, _ in schedule)
        assert (np.abs(read[step] - expected) <= 0.01 * expected + 2 * (1 + changes)).all()


@settings(max_examples=40, deadline=None)
@given(schedules(), st.integers(0, 5))
def test_every_source_is_read_in_its_own_order_without_repeats(given_schedule, seed):
    """The rows of a source are those that it has alone, whatever the weights do; and its epochs are permutations."""
    weights, schedule, size = given_schedule
    sizes = [7 + 5 * k for k in range(len(weights))]
    order = Epochs(sizes, weights, seed=seed, size=size, shuffle=True, schedule=schedule)
    steps = [order(step, np.arange(size)) for step in range(70)]
    sources, rows, epochs = (np.concatenate([step[k] for step in steps]) for k in range(3))
    for source, count in enumerate(sizes):
        mine, epoch = rows[sources == source], epochs[sources == source]
        np.testing.assert_array_equal(epoch, np.arange(len(mine)) // count)
        for first in range(0, len(mine), count):
            assert len(set(mine[first : first + count])) == len(mine[first : first + count])
    again = Epochs(sizes, weights, seed=seed, size=size, shuffle=True, schedule=schedule)
    for step in (63, 5, 31):  # resumed, on another number of processes
        halves = [again(step, places) for places in np.array_split(np.arange(size), 2)]
        for whole, *parts in zip(steps[step], *halves, strict=True):
            np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_change_leaves_what_came_before_as_it_was():
    plain = Epochs([50, 70], [0.35, 0.65], seed=1, size=8, shuffle=True)
    changed = Epochs([50, 70], [0.35, 0.65], seed=1, size=8, shuffle=True, schedule=[(20, [0, 1])])
    for step in range(20):
        for one, other in zip(plain(step, np.arange(8)), changed(step, np.arange(8)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (changed(20, np.arange(8))[0] == 1).all() and (plain(20, np.arange(8))[0] == 0).any()


def test_weights_too_far_apart_are_refused():
    with pytest.raises(ConfigError, match="too far apart"):
        Mixture([1.0, 1e-9])


def config(*schedule):
    made = base.get_base()
    made.data.source, made.data.sequence_length, made.train.batch_size = "pydocs,text:a", 100, 10
    made.data.mixture_schedule = schedule
    base.check(made)
    return made


def test_durations_become_steps():
    made = config((5, (1, 1)), ("20e3 tokens", (0, 1.5)), ("500 examples", (3, 1)))
    assert schedule_of(made, 2) == [(5, [1, 1]), (20, [0, 1.5]), (50, [3, 1])]


@pytest.mark.parametrize(
    "schedule, sources, words",
    [
        ([(5, (1, 1))], 1, "data.source=pydocs,text:a is none"),
        ([(5, (1, 1, 1))], 2, "from 5 on must be 2, one for each part"),
        ([(5, (0, 0))], 2, "not all 0"),
        ([(5, (1, 1)), ("5000 tokens", (1, 2))], 2, "comes to step 5, not behind step 5"),
        ([("2 epochs", (1, 1))], 2, "no epochs"),
        ([(5, (1, -1))], 2, "at least 0"),
        ([("soon", (1, 1))], 2, "a duration"),
        ([(1, 2, 3)], 2, "a list of 2"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said(schedule, sources, words):
    with pytest.raises(ConfigError, match=f"data.mixture_schedule.*{words}"):
        schedule_of(config(*schedule), sources)
