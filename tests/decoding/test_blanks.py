"""Blanks are filled with text, and together as well as they can be."""

import collections
import dataclasses
import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.decoding import blanks

Outputs = collections.namedtuple("Outputs", "logits")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What is compiled for."""

    apply: Callable


def test_a_blank_is_filled_with_pieces_of_text_only():
    """Ids: 0 is special, 1 to 4 are text, 5 has no piece, 6 and 7 are spare rows of the model alone."""
    logits = jnp.arange(8.0)[None, None].repeat(4, axis=1)
    model = Model(lambda params, batch: Outputs(logits))
    is_text = np.isin(np.arange(6), [1, 2, 3, 4])
    (found,) = blanks.fill(model, {}, np.array([0, 1, 2], np.int32), np.array([1]), is_text, length=4, count=20)
    assert [i for i, _ in found] == [4, 3, 2, 1]
    assert found[0][1] / found[1][1] == pytest.approx(np.e) and sum(p for _, p in found) == pytest.approx(1)


def test_blanks_together_are_the_best_of_all_ways():
    """Each of one or two pieces; the model looks at the neighbours of a place."""
    table, mask, count = jnp.asarray(np.random.default_rng(0).normal(0, 2, (3, 8, 8))), 7, 100

    def apply(params, batch):
        tokens = batch["tokens"]
        left, right = (jnp.pad(tokens, ((0, 0), (1, 1)))[:, cut] for cut in (slice(0, -2), slice(2, None)))
        return Outputs(table[0][left] + table[1][right] + table[2][jnp.roll(tokens, 2, axis=1)])

    model, is_text = Model(apply), np.isin(np.arange(8), [1, 2, 4])
    found = blanks.fill_together(
        model, {}, np.array([0, mask, 3, mask, 5], np.int32), np.array([1, 3]), is_text, mask=mask, length=8,
        count=count, most_pieces=2,
    )  # fmt: skip
    ways = [some for size in (1, 2) for some in itertools.product([1, 2, 4], repeat=size)]
    expected = []
    for one, two in itertools.product(ways, ways):
        text = [0, *one, 3, *two, 5]
        places = [*range(1, 1 + len(one)), *range(2 + len(one), 2 + len(one) + len(two))]
        rows = np.zeros((len(places), 8), np.int32)
        rows[:, : len(text)] = text
        rows[np.arange(len(places)), places] = mask
        logits = np.asarray(apply({}, {"tokens": rows}).logits)[np.arange(len(places)), places]
        chances = np.exp(logits[:, [1, 2, 4]]).sum(-1)
        scores = logits[np.arange(len(places)), np.array(text)[places]] - np.log(chances)
        expected.append((float(scores.mean()), (one, two)))
    expected = sorted(expected, reverse=True)[:count]
    assert len(found) == count < len(ways) ** 2
    np.testing.assert_allclose([way.score for way in found], [score for score, _ in expected], rtol=1e-4, atol=1e-5)
    assert [way.pieces for way in found] == [pieces for _, pieces in expected]
