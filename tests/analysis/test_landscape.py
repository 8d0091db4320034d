"""Directions have the lengths of filters, and the surface is the loss where it says."""

import jax
import numpy as np
import pytest

from cloze.analysis import ANALYSES, landscape, losses, pictures
from cloze.models import names


def quiet(line):
    pass


def test_directions_have_the_lengths_of_filters(encoder):
    made = names.flatten(landscape.direction(jax.random.key(0), encoder.params))
    params = names.flatten(encoder.params)
    for name, axis in (
        ("encoder/layers/ffn/up/kernel", 1), ("encoder/layers/attention/query/kernel", 1), ("token/embedding", 1),
    ):  # fmt: skip
        lengths = [np.linalg.norm(np.asarray(one[name], np.float64), axis=axis) for one in (made, params)]
        np.testing.assert_allclose(*lengths, rtol=1e-4)
        assert abs(np.corrcoef(np.ravel(made[name]), np.ravel(params[name]))[0, 1]) < 0.2
    assert not np.any(made["encoder/layers/ffn/up/bias"]) and made.keys() == params.keys()


def test_shifts_add_up():
    tree, ways = {"a": np.ones(3)}, ({"a": np.arange(3.0)}, {"a": np.full(3, 2.0)})
    np.testing.assert_allclose(landscape.shifted(tree, (0.5, ways[0]), (-1.0, ways[1]))["a"], [-1, -0.5, 0])


def test_the_surface_and_the_line_hold_losses(run, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    tuned, base = run
    made = ANALYSES["landscape"](points=3, batches=1, radius=0.5)
    numbers = made.run(tuned, quiet).numbers
    loss = jax.jit(losses.validation_loss(tuned, 1))
    surface = np.array(numbers["surface"])
    assert surface[1, 1] == pytest.approx(float(loss(tuned.params)), rel=1e-5)
    first, second = (landscape.direction(key, tuned.params) for key in jax.random.split(jax.random.key(0)))
    corner = jax.tree.map(lambda p, a, b: p + 0.5 * a - 0.5 * b, tuned.params, first, second)
    assert surface[0, 2] == pytest.approx(float(loss(corner)), rel=1e-4)
    line = dict(zip(numbers["line"]["places"], numbers["line"]["losses"], strict=True))
    assert line[1.0] == pytest.approx(surface[1, 1], rel=1e-5)
    begun = names.flatten(tuned.params) | {
        name: array for name, array in names.flatten(base.params).items() if name in names.flatten(tuned.params)
    }
    assert line[0.0] == pytest.approx(float(loss(names.unflatten(begun))), rel=1e-4)
