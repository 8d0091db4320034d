"""What runs the combinators give, and that draws depend on seed, number and key alone."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze.errors import ConfigError
from cloze.sweeps import chain, choice, log_uniform, product, sample, uniform, zip_

AXES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=3), max_size=3)


@given(AXES)
def test_a_product_has_every_combination_once_and_in_order(axes):
    runs = product(axes)
    assert [tuple(run.values()) for run in runs] == list(itertools.product(*axes.values()))
    assert all(list(run) == list(axes) for run in runs)


def test_what_is_no_list_is_one_value():
    pair = (0.9, 0.98)
    assert product(betas=pair, seed=[1, 2]) == [{"betas": pair, "seed": 1}, {"betas": pair, "seed": 2}]


def test_lists_are_zipped_and_single_values_repeated():
    assert zip_({"model.width": [1, 2]}, heads=[3, 4], config="x") == [
        {"model.width": 1, "heads": 3, "config": "x"},
        {"model.width": 2, "heads": 4, "config": "x"},
    ]
    assert zip_() == []
    with pytest.raises(ConfigError, match="lists of 2, 3 values"):
        zip_(a=[1, 2], b=[1, 2, 3])


def test_combinators_take_what_others_give():
    runs = product(chain({"config": "x"}, zip_(config="y", a=[1, 2])), seed=[0, 1])
    assert [(run["config"], run.get("a"), run["seed"]) for run in runs] == [
        ("x", None, 0), ("x", None, 1), ("y", 1, 0), ("y", 1, 1), ("y", 2, 0), ("y", 2, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: product({"a": 1}, a=2), "a is given twice"),
        (lambda: product(a=[]), "a has an empty list"),
        (lambda: product(3), "neither a dict of options nor a list of runs"),
        (lambda: product(a=uniform(0, 1)), "a is to be drawn"),
        (lambda: uniform(1, 0), r"uniform\(1, 0\) needs two numbers, the smaller"),
        (lambda: log_uniform(0, 1), "two numbers above 0"),
        (lambda: choice(), "at least one value"),
        (lambda: sample(3, {"a": choice(1, 2)}), "asked for 3 runs and finds 2"),
    ],
)
def test_mistakes_are_told(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_draws_depend_on_seed_number_and_key_alone():
    space = {"rate": log_uniform(1e-4, 1e-2), "layers": choice(2, 4, 8)}
    runs = sample(20, space, seed=3)
    assert sample(50, space, seed=3)[:20] == runs == sample(20, dict(reversed(space.items())), seed=3)
    assert [run["rate"] for run in sample(20, {"rate": space["rate"]}, seed=3)] == [run["rate"] for run in runs]
    assert sample(20, space, seed=4) != runs


def test_draws_have_their_distributions():
    runs = sample(2000, {"u": uniform(-1, 3), "l": log_uniform(1e-4, 1), "c": choice("a", "b"), "one": 7})
    assert {run["one"] for run in runs} == {7}
    for quarter in range(4):  # of each range, a quarter of the draws: 500 with a standard deviation of 19
        low = -1 + quarter
        assert abs(sum(low <= run["u"] < low + 1 for run in runs) - 500) < 80
        assert abs(sum(-4 + quarter <= math.log10(run["l"]) < -3 + quarter for run in runs) - 500) < 80
    assert abs(sum(run["c"] == "a" for run in runs) - 1000) < 100
    assert all(float(f"{run['l']:.3g}") == run["l"] for run in runs)  # as short in the name of a run
