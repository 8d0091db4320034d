"""Least squares over the logarithms of counts, rare pairs counting less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models import Outputs

COUNTS = np.array([[0.1, 1.0, 10.0, 50.0, 100.0, 300.0, 0.0, 0.0]], np.float32)


@pytest.fixture(scope="module")
def objective(build):
    return build("glove", data__sequence_length=8)


@pytest.fixture(scope="module")
def batch(objective):
    tokens = np.arange(8, dtype=np.int32)[None] + 6
    rows = {"tokens": tokens, "contexts": tokens + 10, "counts": COUNTS, "row": np.zeros(1, np.int32)}
    return jax.jit(objective.corrupt)(jax.random.key(0), rows)


def test_weights_and_targets_are_those_of_the_paper(batch):
    for t, count in enumerate(COUNTS[0].tolist()):
        weight = 0.0 if not count else 1.0 if count >= 100 else (count / 100) ** 0.75  # equation 9
        np.testing.assert_allclose(batch["target_weights"][0, t], weight, rtol=1e-5)
        np.testing.assert_allclose(batch["targets"][0, t], np.log(count) if count else 0.0, rtol=1e-5)
    np.testing.assert_array_equal(batch["contexts"] - batch["tokens"], np.full((1, 8), 10))
    np.testing.assert_array_equal(batch["segments"][0], [1] * 6 + [0] * 2)


def test_loss_is_a_weighted_squared_error(objective, batch):
    scores = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    term = objective.loss(Outputs(heads={"context": jnp.asarray(scores)}), batch)["loss"]
    expected = sum(
        min(count / 100, 1) ** 0.75 * (score - np.log(count)) ** 2
        for score, count in zip(scores[0, :6].tolist(), COUNTS[0, :6].tolist(), strict=True)
    )
    np.testing.assert_allclose(term.sum, expected, rtol=1e-5)
    assert (term.weight, term.coefficient) == (6, 1.0)
    gradient = jax.grad(lambda s: objective.loss(Outputs(heads={"context": s}), batch)["loss"].sum)(scores)
    assert (np.asarray(gradient)[0] != 0).tolist() == [True] * 6 + [False] * 2


def test_declares_what_it_reads(build):
    objective = build("glove", data__sequence_length=8, objective__context_window=10)
    assert (objective.rows.kind, objective.rows.length, objective.rows.window) == ("cooccurrences", 8, 10)
    assert objective.rows.document_end is None and objective.outputs == ()
    assert objective.rows.excluded == (0, 2, 3, 4, 5, *range(32, 40))  # what is special


@pytest.mark.parametrize("options, message", [
    (dict(objective__context_window=0), "objective.context_window=0"),
    (dict(objective__full_count=0.0), "objective.full_count=0.0 must be more than 0"),
    (dict(objective__count_power=1.5), "objective.count_power=1.5"),
    (dict(data__packing="documents"), "leave it at windows"),
    (dict(data__target_length=3), "data.target_length=3 does not go with objective.name=glove.*leave it unset"),
    (dict(model={"use_bias": False}), "set model.use_bias=true"),
    (dict(model={"architecture": "recurrent"}), "one of glove, skip_gram"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("glove", **options)
