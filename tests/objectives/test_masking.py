"""Units that are hidden together: against plain loops, row by row and in distribution."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze.data import corpus_files
from cloze.objectives import masking

LENGTH, CAPACITY = 16, 8
DRAWS = 20_000
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less
SPECIAL = np.array([True] * 4 + [False] * 36)
NGRAMS, SPANS, ONE = masking.ngram_shares(3), masking.span_shares(0.2, 10), np.ones(1, np.float32)
CHOICES = {
    "whole_words": functools.partial(masking.choose_ngrams, shares=ONE),
    "ngrams": functools.partial(masking.choose_ngrams, shares=NGRAMS),
    "spans": functools.partial(masking.choose_spans, shares=SPANS),
}


def test_budgets_follow_the_references():
    counts = masking.prediction_counts(512, 0.15, None)
    assert [counts[n] for n in (0, 1, 9, 10, 30, 50, 70, 128, 512)] == [1, 1, 1, 2, 4, 8, 10, 19, 77]
    assert masking.prediction_counts(512, 0.15, 20)[[100, 128, 512]].tolist() == [15, 19, 20]
    assert masking.span_counts(512, 0.15, None)[[0, 1, 7, 20, 21, 510]].tolist() == [1, 1, 2, 3, 4, 77]


def test_shares_of_lengths_are_the_papers():
    np.testing.assert_allclose(NGRAMS, [6 / 11, 3 / 11, 2 / 11], rtol=1e-6)
    ratios = SPANS[1:] / SPANS[:-1]
    np.testing.assert_allclose(ratios, 0.8, rtol=1e-6)
    assert len(SPANS) == 10 and SPANS.sum() == pytest.approx(1)
    assert SPANS @ np.arange(1, 11) == pytest.approx(3.8, abs=0.01)  # Joshi et al. 2020, section 3.1


def plain_runs(tokens, segments):
    """[(places of a run)], in order."""
    runs = []
    for i, (token, segment) in enumerate(zip(tokens, segments, strict=True)):
        if segment == 0 or SPECIAL[token]:
            continue
        if runs and runs[-1][-1] == i - 1 and segments[i - 1] == segment:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def plain_words(runs, starts):
    """[[words of a run as lists of places]]."""
    words = []
    for run in runs:
        words.append([])
        for i in run:
            if starts[i] or not words[-1]:
                words[-1].append([])
            words[-1][-1].append(i)
    return words


def outline(row):
    """(run_R, word_R) of a row of tokens, segments and starts."""
    run_R = masking.text_runs(row["tokens"], row["segments"], SPECIAL)
    return run_R, masking.word_indices(run_R, row["starts"])


@pytest.fixture(scope="module")
def choose():
    """name -> function (key, rows, counts) of a batch: run, word and hidden, all [B, R]."""

    def batched(name):
        def one(key, row, count):
            run_R, word_R = outline(row)
            return run_R, word_R, CHOICES[name](key, word_R, run_R, count, capacity=CAPACITY)

        return jax.jit(lambda key, rows, counts: jax.vmap(one)(jax.random.split(key, len(counts)), rows, counts))

    return {name: batched(name) for name in CHOICES}


def packed(draw_lengths, seed):
    """Rows of segments of the given lengths, with some special tokens and continued words in them."""
    rng = np.random.default_rng(seed)
    rows = {name: np.zeros((len(draw_lengths), LENGTH), np.int32) for name in ("tokens", "segments")}
    rows["starts"] = rng.random((len(draw_lengths), LENGTH)) < 0.5
    for r, lengths in enumerate(draw_lengths):
        segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)[:LENGTH]
        rows["segments"][r, : len(segments)] = segments
        rows["tokens"][r] = np.where(rng.random(LENGTH) < 0.15, 2, rng.integers(4, 40, LENGTH))
    return rows


@hypothesis.given(
    st.lists(st.lists(st.integers(1, LENGTH), max_size=5), min_size=4, max_size=4),
    st.lists(st.integers(0, CAPACITY), min_size=4, max_size=4),
    st.integers(0, 1000),
)
@hypothesis.example([[], [1], [2], [LENGTH]], [8, 8, 8, 8], 0)
@hypothesis.example([[1] * LENGTH, [2] * 8, [3], [LENGTH - 1]], [0, 1, 5, 8], 1)
@hypothesis.settings(deadline=None, max_examples=40)
def test_units_are_whole_within_budget_and_never_cross_runs(choose, lengths, counts, seed):
    rows = packed(lengths, seed)
    for name, function in choose.items():
        runs_BR, words_BR, hidden_BR = map(np.asarray, function(jax.random.key(seed), rows, np.array(counts)))
        for r, count in enumerate(counts):
            runs = plain_runs(rows["tokens"][r], rows["segments"][r])
            words = plain_words(runs, rows["starts"][r])
            expected_runs, expected_words = np.zeros(LENGTH), np.full(LENGTH, LENGTH)
            for n, run in enumerate(runs, start=1):
                expected_runs[run] = n
            for n, word in enumerate(word for run in words for word in run):
                expected_words[word] = n
            np.testing.assert_array_equal(runs_BR[r], expected_runs)
            np.testing.assert_array_equal(words_BR[r], expected_words)

            hidden = set(np.flatnonzero(hidden_BR[r]))
            text = {i for run in runs for i in run}
            assert hidden <= text and len(hidden) <= count
            every_word = [word for run in words for word in run]
            if name == "spans":
                assert len(hidden) == min(count, len(text))
                partly = [word for word in every_word if 0 < len(hidden & set(word)) < len(word)]
                assert len(partly) <= 1 and all(word[0] in hidden for word in partly)
            else:
                assert all(len(hidden & set(word)) in (0, len(word)) for word in every_word)
            if name == "whole_words":  # nothing that is left would have fitted
                left = [len(word) for word in every_word if not hidden & set(word)]
                assert len(hidden) + min(left, default=LENGTH) > count


# A row with words of one to three pieces in two runs.
TOKENS = np.array([2, 9, 9, 9, 9, 9, 9, 9, 9, 2, 9, 9, 9, 9, 2, 0], np.int32)
SEGMENTS = np.array([1] * 15 + [0], np.int32)
STARTS = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0], bool)
COUNT = 5


def plain_ngrams(rng, words, count, shares):
    """ALBERT's masks by plain loops over [[words of a run]]; with shares (1,) BERT's whole words."""
    places = [(run, i) for run in words for i in range(len(run))]
    hidden = set()
    for at in rng.permutation(len(places)):
        run, i = places[at]
        possible = np.array(shares[: len(run) - i], np.float64)
        n = 1 + rng.choice(len(possible), p=possible / possible.sum())
        while n and len(hidden) + sum(map(len, run[i : i + n])) > count:
            n -= 1
        ngram = {place for word in run[i : i + n] for place in word}
        if not ngram & hidden:
            hidden |= ngram
    return hidden


def plain_spans(rng, words, count, shares):
    """SpanBERT's masks by plain loops."""
    where = {place: (run, i) for run in words for i, word in enumerate(run) for place in word}
    hidden = set()
    while len(hidden) < min(count, len(where)):
        n = 1 + rng.choice(len(shares), p=shares / shares.sum())
        anchor = rng.choice(list(where))
        if anchor in hidden:
            continue
        run, i = where[anchor]
        for place in (place for word in run[i : i + n] for place in word):
            if len(hidden) < count:
                hidden.add(place)
    return hidden


def same_distribution(ours, theirs):
    """The p-value of two samples of outcomes having one distribution; rare outcomes are counted together."""
    outcomes, inverse = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    table = np.stack([np.bincount(part, minlength=len(outcomes)) for part in np.split(inverse, [len(ours)])])
    rare = table.sum(axis=0) < 20
    table = np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
    return stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue


@pytest.mark.parametrize(
    "name, plain, shares",
    [("whole_words", plain_ngrams, ONE), ("ngrams", plain_ngrams, NGRAMS), ("spans", plain_spans, SPANS)],
)
def test_masks_are_distributed_as_in_plain_loops(choose, name, plain, shares):
    rows = {"tokens": TOKENS, "segments": SEGMENTS, "starts": STARTS}
    rows = {key: np.broadcast_to(array, (DRAWS, LENGTH)) for key, array in rows.items()}
    *_, hidden = choose[name](jax.random.key(0), rows, np.full(DRAWS, COUNT))
    ours = np.asarray(hidden) @ 2 ** np.arange(LENGTH)

    words, rng = plain_words(plain_runs(TOKENS, SEGMENTS), STARTS), np.random.default_rng(0)
    theirs = np.array([sum(2 ** int(i) for i in plain(rng, words, COUNT, shares)) for _ in range(DRAWS // 4)])
    assert same_distribution(ours, theirs) > UNLIKELY
    uniform = [sum(2 ** int(i) for i in plain(rng, words, COUNT, ONE)) for _ in range(DRAWS // 4)]
    if name == "ngrams":  # the test can fail: other shares are told apart
        assert same_distribution(ours, np.array(uniform)) < UNLIKELY


def test_a_span_begins_anywhere_and_has_the_papers_lengths():
    length = 64
    word_R, run_R = jnp.arange(length, dtype=jnp.int32), jnp.ones(length, jnp.int32)

    def first(key):  # one turn: a single span, which the budget never cuts
        return masking.choose_spans(key, word_R, run_R, 10, shares=SPANS, capacity=1)

    hidden = np.asarray(jax.jit(jax.vmap(first))(jax.random.split(jax.random.key(1), DRAWS)))
    starts, lengths = hidden.argmax(axis=1), hidden.sum(axis=1)
    assert (hidden == ((np.arange(length) - starts[:, None]) // lengths[:, None] == 0)).all()
    assert stats.chisquare(np.bincount(starts, minlength=length)).pvalue > UNLIKELY
    whole = lengths[starts <= length - 10]  # later ones may end with the row
    assert stats.chisquare(np.bincount(whole, minlength=11)[1:], len(whole) * SPANS / SPANS.sum()).pvalue > UNLIKELY


# Sentences of three names (of 1, 2 and 1 tokens), of none, of one that the row's beginning has cut, of one.
END, FIRST, NAME = masking.SENTENCE_END, masking.ENTITY_START | masking.ENTITY, masking.ENTITY
FLAGS = np.array([0, NAME, NAME | END, FIRST, FIRST, NAME, 0, FIRST, END, 0, 0, END, 0, FIRST, END, 0], np.int32)
ENTITIES = [[{1, 2}], [{3}, {4, 5}, {7}], [{13}]]


@pytest.fixture(scope="module")
def entities():
    run_R = np.array([0] + [1] * 14 + [0], np.int32)

    @functools.partial(jax.jit, static_argnums=1)
    def hide(keys, count):
        return jax.vmap(lambda key: masking.choose_entities(key, FLAGS, run_R, count, capacity=CAPACITY))(keys)

    return lambda seed, count, draws=4096: np.asarray(hide(jax.random.split(jax.random.key(seed), draws), count))


def test_one_name_of_each_sentence_is_hidden(entities):
    hidden = [set(np.flatnonzero(row)) for row in entities(0, CAPACITY)]
    for sentence in ENTITIES:
        every = set().union(*sentence)
        assert all(row & every in sentence for row in hidden)
        times = [sum(row & every == entity for row in hidden) for entity in sentence]
        assert len(times) == 1 or stats.chisquare(times).pvalue > UNLIKELY
    assert all(row <= set().union(*(entity for sentence in ENTITIES for entity in sentence)) for row in hidden)


def test_names_that_exceed_the_budget_are_left_out_at_random(entities):
    hidden = [frozenset(np.flatnonzero(row)) for row in entities(1, 1)]
    # {1, 2} never fits; of the second sentence a single token does in two of three draws, and then half of the time.
    times = [sum(row == {place} for row in hidden) for place in (3, 7, 13)]
    shares = np.array([1 / 6, 1 / 6, 2 / 3])
    assert sum(times) == len(hidden) and stats.chisquare(times, len(hidden) * shares).pvalue > UNLIKELY
    assert not entities(2, 0).any()


def test_names_end_with_their_sentence_and_packed_segment():
    flags = np.array([NAME, NAME | END, NAME, NAME, NAME, NAME], np.int32)
    run_R = np.array([1, 1, 1, 1, 2, 2], np.int32)
    hidden = masking.choose_entities(jax.random.key(0), flags, run_R, 2, capacity=2)
    assert np.flatnonzero(hidden).tolist() in ([0, 1], [2, 3], [4, 5])


def test_flags_are_those_of_the_corpus():
    assert masking.SENTENCE_END == corpus_files.SENTENCE_END
    assert (masking.ENTITY_START, masking.ENTITY) == (corpus_files.ENTITY_START, corpus_files.ENTITY)


def test_spans_are_numbered_by_neighbours_of_one_run():
    run_R = np.array([1, 1, 1, 2, 2, 0, 3, 3], np.int32)
    positions = np.array([0, 1, 2, 3, 6, 7, 0, 0], np.int32)
    used = np.array([True] * 6 + [False] * 2)
    assert masking.span_indices(positions, used, run_R)[:6].tolist() == [0, 0, 0, 1, 2, 2]


def test_draws_repeat_and_differ_with_the_key(choose):
    rows = {"tokens": TOKENS, "segments": SEGMENTS, "starts": STARTS}
    rows = {key: np.broadcast_to(array, (DRAWS, LENGTH)) for key, array in rows.items()}
    counts = np.full(DRAWS, COUNT)
    for function in choose.values():
        once, again, other = (np.asarray(function(jax.random.key(k), rows, counts)[2]) for k in (5, 5, 6))
        np.testing.assert_array_equal(once, again)
        assert (once != other).any(axis=1).mean() > 0.5
