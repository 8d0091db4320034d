"""Beam search against all texts of a small vocabulary, and against a search by lists."""

import functools
import itertools

import jax
import numpy as np
import pytest

from cloze import decoding
from tests.decoding import models as tiny

END, IDS, MOST = 20, (3, 7, 20, 41), 4  # what may be written, an end among it
VALID = np.isin(np.arange(tiny.VOCAB), IDS)
SHAPES = [("power", 1.0), ("power", -0.5), ("gnmt", 2.0)]


@functools.cache
def steps():
    """For each prompt {written before: {next: log-probability}}."""
    model, params = tiny.build("gpt2", "small")
    prompts = tiny.batch(model.config)["tokens"]
    every = np.array(list(itertools.product(IDS, repeat=MOST)), np.int32)
    rows = np.zeros((tiny.ROWS, len(every), tiny.PROMPT + MOST), np.int32)
    for row, size in enumerate(tiny.PROMPT_LENGTHS):
        rows[row, :, :size], rows[row, :, size : size + MOST] = prompts[row, :size], every
    run = jax.jit(lambda params, tokens: model.apply({"params": params}, {"tokens": tokens}).logits)
    logits = np.asarray(run(params, rows.reshape(-1, rows.shape[2])), np.float64)[..., : model.config.vocab_size]
    log_probs = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).reshape(*rows.shape, -1)
    found = [{} for _ in range(tiny.ROWS)]
    for row, size in enumerate(tiny.PROMPT_LENGTHS):
        for (number, text), place in itertools.product(enumerate(every.tolist()), range(MOST)):
            here = log_probs[row, number, size - 1 + place]
            found[row][tuple(text[:place])] = {i: here[i] for i in IDS}
    return found


def normalised(score, size, shape):
    kind, penalty = shape
    return score / (size if kind == "power" else (5 + size) / 6) ** penalty


def every_text(step, shape):
    """[(score, text)] of all that can be written, the best first."""
    found = []
    for size in range(1, MOST + 1):
        for text in itertools.product(IDS, repeat=size):
            if END not in text[:-1] and (text[-1] == END or size == MOST):
                score = sum(step[text[:place]][i] for place, i in enumerate(text))
                found.append((normalised(score, size, shape), text))
    return sorted(found, reverse=True)


def by_lists(step, shape, beams, stopping):
    """The same, as far as a search by so many beams goes."""
    going, ended = [(0.0, ())], []
    for size in range(1, MOST + 1):
        found = sorted(((s + p, (*t, i)) for s, t in going for i, p in step[t].items()), reverse=True)[: 2 * beams]
        over = [text[-1] == END or size == MOST for _, text in found]
        ended += [(normalised(s, size, shape), t) for (s, t), o in list(zip(found, over, strict=True))[:beams] if o]
        ended = sorted(ended, reverse=True)[:beams]
        going = [one for one, o in zip(found, over, strict=True) if not o][:beams]
        if len(ended) == beams and going:
            later = MOST if stopping == "exact" and shape[1] > 0 else size
            if stopping == "full" or normalised(going[0][0], later, shape) <= ended[-1][0]:
                break
    return ended


def search(shape, **options):
    """For each prompt [(score, text)]."""
    model, params = tiny.build("gpt2", "small")
    kind, penalty = shape
    options = decoding.DecodingOptions(max_tokens=MOST, length_normalization=kind, length_penalty=penalty, **options)
    written = decoding.write(
        model, params, tiny.batch(model.config), tiny.PROMPT_LENGTHS, VALID, options=options, end_ids=(END,), pad_id=0
    )
    sizes = np.minimum(written.lengths + 1, MOST)
    texts = [tuple(row[:size].tolist()) for row, size in zip(written.tokens, sizes, strict=True)]
    found = list(zip(written.scores.tolist(), texts, strict=True))
    return [found[i : i + options.num_samples] for i in range(0, len(found), options.num_samples)]


def check(found, expected):
    assert [text for _, text in found] == [text for _, text in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_beams_for_all_texts_the_best_are_found(shape):
    found = search(shape, beams=110, num_samples=5, early_stopping="exact")
    for row, step in enumerate(steps()):
        check(found[row], every_text(step, shape)[:5])


RULES, LONG = ("full", "heuristic", "exact"), ("power", 2.0)


@functools.cache
def ended_by(stopping):
    return [by_lists(step, LONG, 2, stopping) for step in steps()]


@pytest.mark.parametrize("stopping", RULES)
def test_a_search_ends_as_it_is_told_to(stopping):
    found = search(LONG, beams=2, num_samples=2, early_stopping=stopping)
    for mine, theirs in zip(found, ended_by(stopping), strict=True):
        check(mine, theirs)
    assert all(ended_by(stopping) != ended_by(other) for other in RULES if other != stopping)
