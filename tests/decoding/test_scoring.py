"""Log-probabilities of continuations against those of each text alone."""

import jax
import numpy as np
import pytest

from cloze import decoding
from cloze.errors import DataError
from tests.decoding import models as tiny

PROMPTS = [[5, 9, 2, 30], [7], [8, 8, 3, 1, 4, 12]]
CANDIDATES = [[[3], [44, 6, 20], [11, 3]], [[3], [9], [10]], [[50], [53, 3], [9, 9, 4]]]
CASES = {
    "causal": ("gpt2", "small", dict(architecture="decoder")),
    "prefix": ("t5", "prefix_lm_base", dict(architecture="decoder", prefix="full")),
    "two stacks": ("t5", "small", dict(architecture="encoder_decoder", decoder_start=0)),
}


def alone(run, options, prompt, candidate):
    """The log-probability of one candidate, from logits of an unpadded row of its own."""
    text = np.array([[*prompt, *candidate]], np.int32)
    if options["architecture"] == "encoder_decoder":
        logits = run({"tokens": text[:, : len(prompt)], "decoder_tokens": np.array([[0, *candidate[:-1]]], np.int32)})
    else:
        place = np.arange(text.shape[1], dtype=np.int32)[None]
        ranks = np.where(place < len(prompt), 0, place) if "prefix" in options else place
        logits = run({"tokens": text, "ranks": ranks.astype(np.int32)})[:, len(prompt) - 1 : -1]
    logits = np.asarray(logits[0], np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return log_probs[np.arange(len(candidate)), candidate].sum()


@pytest.mark.parametrize("case", CASES)
def test_candidates_have_the_probability_that_they_have_alone(case):
    family, preset, options = CASES[case]
    model, params = tiny.build(family, preset)
    batch = decoding.continuations(PROMPTS, CANDIDATES, length=9, pad_id=0, **options)
    got = decoding.log_probability(model, params, batch)
    run = jax.jit(lambda batch: model.apply({"params": params}, batch).logits)
    for b, c in ((0, 1), (2, 0)):  # in a decoder of one length, for which it is compiled once
        assert got[b, c] == pytest.approx(alone(run, options, PROMPTS[b], CANDIDATES[b][c]), abs=2e-4)
    assert got.shape == (3, 3) and np.ptp(got) > 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="prompt 2 has 6 tokens .* room for 5"):
        decoding.continuations(PROMPTS, CANDIDATES, length=7, pad_id=0, architecture="decoder")
    with pytest.raises(DataError, match="prompt 0 has 0 tokens"):
        decoding.continuations([[]], [[[1]]], length=7, pad_id=0, architecture="decoder")
    with pytest.raises(DataError, match=r"\[2, 0\]"):
        decoding.continuations([[1]], [[[1, 2], []]], length=7, pad_id=0, architecture="encoder_decoder")
