"""Measures of neural collapse: 0 where it is complete, and as by loops elsewhere."""

import itertools

import numpy as np
import pytest

from cloze.analysis import ANALYSES, collapse, pictures
from cloze.errors import ConfigError

RNG = np.random.default_rng(0)
SIMPLEX = np.eye(4) - 0.25  # the vectors of four classes that are as far apart as can be


def quiet(line):
    pass


def test_a_collapsed_classifier_has_nothing_left():
    labels = np.array([0, 1, 2, 3, 3, 1])  # classes need not be as frequent
    found = collapse.measures(3 * SIMPLEX[labels] + 7.0, labels, 0.1 * SIMPLEX.T)
    assert set(found) == set(collapse.MEASURES) and max(map(abs, found.values())) < 1e-12


def test_measures_are_those_of_the_paper():
    labels = RNG.permutation(np.repeat(np.arange(3), 20))
    x, kernel = RNG.normal(size=(60, 5)) + np.eye(3, 5)[labels] * 2, RNG.normal(size=(5, 3))
    means = np.array([x[labels == c].mean(0) for c in range(3)])
    centred = means - x.mean(0)  # as many examples of each
    within = sum(np.outer(one - means[c], one - means[c]) for one, c in zip(x, labels, strict=True)) / 60
    between = sum(np.outer(one, one) for one in centred) / 3
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.permutations(centred, 2)]
    lengths = [np.linalg.norm(one) for one in centred]
    gap = kernel.T / np.sqrt((kernel**2).sum()) - centred / np.sqrt((centred**2).sum())
    found = collapse.measures(x, labels, kernel)
    expected = {
        "within": np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 3,
        "norms": np.std(lengths) / np.mean(lengths), "angles": np.std(cosines),
        "largest_angles": np.mean([abs(c + 0.5) for c in cosines]), "duality": (gap**2).sum(),
    }  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-9) and min(found.values()) > 0.01


def test_classes_without_an_example_are_left_out():
    labels = np.array([0, 2, 0, 2])
    kernel = np.stack([[1.0, 0.0], [9.0, 9.0], [-1.0, 0.0]]).T
    found = collapse.measures(np.array([[1.0, 0.0], [-1.0, 0.0]] * 2), labels, kernel)
    assert max(map(abs, found.values())) < 1e-12
    with pytest.raises(ConfigError, match="of one class"):
        collapse.measures(np.ones((3, 2)), np.zeros(3, int), kernel)


def test_a_classifier_is_looked_at_and_nothing_else(run, encoder, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    numbers = ANALYSES["collapse"]().run(run[0], quiet).numbers
    assert set(numbers) == {"train", "validation"} and numbers["train"]["within"] > 0
    with pytest.raises(ConfigError, match="looks at what a classifier reads.*the heads mlm"):
        ANALYSES["collapse"]().run(encoder, quiet)
