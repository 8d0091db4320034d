"""What is left of logits, against plain loops over rows and tokens."""

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.decoding import transforms

LOGITS = np.random.default_rng(0).normal(0, 2, (3, 11)).astype(np.float32)
TOKENS = np.array([[1, 2, 3, 1, 2, 0], [4, 4, 4, 9, 9, 9], [5, 6, 7, 8, 9, 10]], np.int32)
COUNTS = np.array([5, 3, 6], np.int32)
TEXT = transforms.Text(jnp.asarray(TOKENS), jnp.asarray(COUNTS), jnp.int32(2))


def kept(logits):
    return [set(np.flatnonzero(np.isfinite(row)).tolist()) for row in np.asarray(logits)]


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


@pytest.mark.parametrize("count", [1, 4, 50])
def test_top_k(count):
    assert kept(transforms.top_k(LOGITS, count)) == [set(np.argsort(-row)[:count].tolist()) for row in LOGITS]


@pytest.mark.parametrize("mass", [1e-6, 0.5, 0.9])
def test_top_p_is_the_smallest_set_that_reaches_the_mass(mass):
    for row, left in zip(LOGITS, kept(transforms.top_p(LOGITS, mass)), strict=True):
        probs, order = softmax(row), np.argsort(-row)
        size = next(n for n in range(1, 12) if probs[order[:n]].sum() >= mass)
        assert left == set(order[:size].tolist())


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_min_p(share):
    expected = [set(np.flatnonzero(softmax(row) >= share * softmax(row).max()).tolist()) for row in LOGITS]
    assert kept(transforms.min_p(LOGITS, share)) == expected


def test_the_repetition_penalty_never_rewards():
    got = np.asarray(transforms.repetition_penalty(LOGITS, TEXT, 1.7))
    for b in range(3):
        for v in range(11):
            x = LOGITS[b, v]
            seen = v in TOKENS[b, : COUNTS[b]]
            np.testing.assert_allclose(got[b, v], (x * 1.7 if x < 0 else x / 1.7) if seen else x, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_no_sequence_is_repeated(size):
    for b, left in enumerate(kept(transforms.no_repeat_ngrams(LOGITS, TEXT, size))):
        text = TOKENS[b, : COUNTS[b]].tolist()
        there = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
        last = text[len(text) - size + 1 :] if len(text) >= size - 1 else None
        assert left == {v for v in range(11) if last is None or (*last, v) not in there}


def test_ends_wait_and_what_is_forced_is_written():
    assert all({3, 5}.isdisjoint(left) for left in kept(transforms.min_tokens(LOGITS, TEXT, 3, (3, 5))))
    np.testing.assert_array_equal(transforms.min_tokens(LOGITS, TEXT, 2, (3, 5)), LOGITS)
    assert kept(transforms.forced(LOGITS, np.array([True, False, True]), 7)) == [{7}, set(range(11)), {7}]
