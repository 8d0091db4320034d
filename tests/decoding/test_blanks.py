"""Blanks are filled with text."""

import collections
import types

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.decoding import blanks

Outputs = collections.namedtuple("Outputs", "logits")


def test_a_blank_is_filled_with_pieces_of_text_only():
    """Ids: 0 is special, 1 to 4 are text, 5 has no piece, 6 and 7 are spare rows of the model alone."""
    logits = jnp.arange(8.0)[None, None].repeat(4, axis=1)
    model = types.SimpleNamespace(apply=lambda params, batch: Outputs(logits))
    is_text = np.isin(np.arange(6), [1, 2, 3, 4])
    (found,) = blanks.fill(model, {}, np.array([0, 1, 2], np.int32), np.array([1]), is_text, length=4, count=20)
    assert [i for i, _ in found] == [4, 3, 2, 1]
    assert found[0][1] / found[1][1] == pytest.approx(np.e) and sum(p for _, p in found) == pytest.approx(1)
