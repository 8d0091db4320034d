"""Distances and gradients by layer, against sums over the parameters of a finetuned run."""

import jax
import numpy as np
import pytest

from cloze.analysis import ANALYSES, distance, losses, pictures
from cloze.errors import ConfigError
from cloze.models import names


def quiet(line):
    pass


def test_norms_are_of_all_parameters_of_a_place():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4)), rng.normal(size=5), rng.normal(size=(4, 2))
    found = distance.norms({
        "encoder/layers/attention/query/kernel": a, "encoder/layers/ffn/up/bias": b, "encoder/final_norm/scale": c,
        "classifier/kernel": d, "token/embedding": c, "encoder_embeddings/position": d,
    })  # fmt: skip
    assert list(found) == ["embeddings", "layer 1", "layer 2", "final norm", "heads"]
    for place, parts in {
        "embeddings": (c, d), "layer 1": (a[0], b[0]), "layer 2": (a[1], b[1]), "final norm": (c,), "heads": (d,)
    }.items():  # fmt: skip
        assert found[place] == pytest.approx(np.linalg.norm(np.concatenate([part.ravel() for part in parts])))


def test_a_run_has_moved_from_its_beginning(run, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    tuned, base = run
    numbers = ANALYSES["distance"](batches=1).run(tuned, quiet).numbers
    now, before = (names.flatten(one.params) for one in (tuned, base))
    name = "encoder/layers/ffn/up/kernel"
    square = sum(
        float(np.sum(np.square(np.asarray(now[n])[0] - np.asarray(before[n])[0]))) for n in now
        if names.is_stacked(n)
    )  # fmt: skip
    place = numbers["places"].index("layer 1")
    assert name in now and numbers["distance"][place] == pytest.approx(np.sqrt(square), rel=1e-4)
    assert 0 < numbers["relative"][place] < 2 and numbers["places"][-1] == "heads"


def test_the_gradient_is_that_of_the_validation_loss(run):
    loss = losses.validation_loss(run[0], 2)
    value = jax.jit(loss)
    gradient = jax.jit(jax.grad(loss))(run[0].params)
    kernel, slope = run[0].params["classifier"]["kernel"], np.asarray(gradient["classifier"]["kernel"])
    step = 1e-2 * slope / np.linalg.norm(slope)

    def moved(change):
        params = dict(run[0].params, classifier=dict(run[0].params["classifier"], kernel=kernel + change))
        return float(value(params))

    assert (moved(step) - moved(-step)) / 2e-2 == pytest.approx(np.linalg.norm(slope), rel=0.02)


def test_a_run_that_began_at_random_has_no_distance(run, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    with pytest.raises(ConfigError, match="was not begun from another run.*choose a finetuned run"):
        ANALYSES["distance"]().run(run[1], quiet)
