"""Words, neighbours and noise come with the probabilities of the paper, never across texts packed side by side."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from cloze.errors import ConfigError
from cloze.models import Outputs
from cloze.objectives.skip_gram import keep_probabilities, noise_table

LENGTH, WINDOW, NEGATIVES, DRAWS, VOCAB = 16, 3, 4, 4000, 40
OPTIONS = dict(
    data__sequence_length=LENGTH, objective__context_window=WINDOW, objective__negatives=NEGATIVES,
    objective__subsample=0.02,
)  # fmt: skip
COUNTS = np.where(np.arange(VOCAB) >= 6, 1000 // (np.arange(VOCAB) + 1), 7)


@pytest.fixture(scope="module")
def objective(build):
    return build("skip_gram", **OPTIONS).with_counts(COUNTS)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def rows(tokens, segments=None):
    given = {"tokens": tokens, "row": np.arange(len(tokens), dtype=np.int32)}
    return given if segments is None else given | {"segments": segments}


@pytest.fixture(scope="module")
def drawn(corrupt):
    """Rows of different words, so that a word's place can be told from it, and what became of them."""
    tokens = np.stack([np.random.default_rng(i).permutation(np.arange(6, 32))[:LENGTH] for i in range(DRAWS)])
    tokens = tokens.astype(np.int32)
    return tokens, jax.device_get(corrupt(jax.random.key(0), rows(tokens)))


def brute_force(rng, tokens, keep, noise):
    """The published program in plain loops: [(word, neighbour, [noise])], and the words that are kept."""
    kept = [word for word in tokens if rng.random() < keep[word]]
    pairs = []
    for place, word in enumerate(kept):
        reach = rng.integers(1, WINDOW + 1)
        for other in range(max(0, place - reach), min(len(kept), place + reach + 1)):
            if other != place:
                negatives = [word for word in rng.choice(VOCAB, NEGATIVES, p=noise) if word != kept[other]]
                pairs.append((word, kept[other], negatives))
    return pairs, kept


def test_agrees_with_plain_loops_in_distribution(objective, drawn):
    tokens, batch = drawn
    rng = np.random.default_rng(1)
    shares = np.diff(objective.noise, prepend=0.0).astype(np.float64)
    reference = [brute_force(rng, row, objective.keep, shares / shares.sum()) for row in tokens[: DRAWS // 2]]
    ours = (
        batch["context_weights"][..., 0].sum((1, 2)),
        batch["segments"].sum(1),
        batch["context_weights"].sum((1, 2, 3)),
    )
    theirs = (
        [len(pairs) for pairs, _ in reference],
        [len(kept) for _, kept in reference],
        [sum(1 + len(negatives) for _, _, negatives in pairs) for pairs, _ in reference],
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert scipy.stats.ks_2samp(mine, other).pvalue > 1e-4


def test_words_are_left_out_as_often_as_they_should(objective, drawn):
    tokens, batch = drawn
    kept = np.bincount(batch["tokens"][batch["segments"] > 0], minlength=VOCAB)
    seen = np.bincount(tokens.ravel(), minlength=VOCAB)
    for word in range(6, 32):
        frequency = COUNTS[word] / COUNTS[[i for i in range(VOCAB) if i not in (0, 2, 3, 4, 5, *range(32, 40))]].sum()
        expected = min(1.0, (0.02 / frequency) ** 0.5)
        assert objective.keep[word] == pytest.approx(expected, rel=1e-5)
        assert scipy.stats.binomtest(int(kept[word]), int(seen[word]), min(expected, 1.0)).pvalue > 1e-6


def test_what_is_kept_keeps_its_order_and_moves_together(drawn):
    tokens, batch = drawn
    for row in range(200):
        count = batch["segments"][row].sum()
        assert (batch["segments"][row, :count] == 1).all()
        places = [tokens[row].tolist().index(word) for word in batch["tokens"][row, :count]]
        assert places == sorted(places)
        assert sorted(batch["tokens"][row]) == sorted(tokens[row])


def test_windows_are_drawn_evenly_and_neighbours_are_what_stands_there(drawn):
    _, batch = drawn
    offsets = [-3, -2, -1, 1, 2, 3]
    inner = np.zeros(WINDOW + 1, int)
    for row in range(400):
        kept = batch["tokens"][row, : batch["segments"][row].sum()]
        for place in range(LENGTH):
            there = batch["context_weights"][row, place, :, 0]
            if place >= len(kept):
                assert not batch["context_weights"][row, place].any()
                continue
            for column, offset in enumerate(offsets):
                if there[column]:
                    assert batch["contexts"][row, place, column, 0] == kept[place + offset]
            reach = max((abs(o) for o, w in zip(offsets, there, strict=True) if w), default=0)
            expected = [float(abs(o) <= reach and 0 <= place + o < len(kept)) for o in offsets]
            assert there.tolist() == expected
            if WINDOW <= place < len(kept) - WINDOW:
                inner[reach] += 1
    assert inner[0] == 0 and scipy.stats.chisquare(inner[1:]).pvalue > 1e-4


def test_noise_follows_counts_to_the_power_and_skips_the_neighbour(objective, drawn):
    _, batch = drawn
    noise, neighbours = batch["contexts"][..., 1:], batch["contexts"][..., :1]
    usable = [i for i in range(VOCAB) if i not in (0, 2, 3, 4, 5, *range(32, 40))]
    expected = np.zeros(VOCAB)
    expected[usable] = COUNTS[usable] ** 0.75
    found = np.bincount(noise.ravel(), minlength=VOCAB)
    assert not found[expected == 0].any()
    total = found.sum() * expected[usable] / expected.sum()
    assert scipy.stats.chisquare(found[usable], total).pvalue > 1e-4
    pairs = batch["context_weights"][..., :1] > 0
    np.testing.assert_array_equal(batch["context_weights"][..., 1:] > 0, pairs & (noise != neighbours))


@hypothesis.given(
    lengths=st.lists(st.integers(1, LENGTH), max_size=LENGTH), special=st.lists(st.booleans(), min_size=16, max_size=16)
)
@hypothesis.example(lengths=[], special=[False] * LENGTH)
@hypothesis.example(lengths=[1], special=[False] * LENGTH)
@hypothesis.example(lengths=[2], special=[False] * LENGTH)
@hypothesis.example(lengths=[LENGTH], special=[False] * LENGTH)
@hypothesis.example(lengths=[5, 11], special=[True] * LENGTH)
@hypothesis.settings(deadline=None, max_examples=40)
def test_pairs_are_of_one_text_and_never_of_special_tokens(corrupt, lengths, special):
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)[:LENGTH]
    segments = np.pad(segments, (0, LENGTH - len(segments))).astype(np.int32)
    tokens = np.where(special, 5, np.arange(LENGTH) + 6).astype(np.int32)
    batch = jax.device_get(corrupt(jax.random.key(1), rows(tokens[None], segments[None])))
    of_word = dict(zip(tokens.tolist(), segments.tolist(), strict=True))
    for place, column in zip(*np.nonzero(batch["context_weights"][0, ..., 0]), strict=True):
        word, neighbour = int(batch["tokens"][0, place]), int(batch["contexts"][0, place, column, 0])
        assert 5 not in (word, neighbour)
        assert of_word[word] == of_word[neighbour] > 0
    assert not batch["context_weights"][0][batch["segments"][0] == 0].any()


def test_windows_have_no_pairs_across_documents(build):
    """The ends of documents, of id 5, are themselves left out."""
    made = build("skip_gram", **(OPTIONS | {"objective__subsample": 0.0}))
    tokens = np.arange(LENGTH, dtype=np.int32) + 6
    tokens[[5, 9, 10]] = 5
    batch = jax.device_get(jax.jit(made.corrupt)(jax.random.key(0), rows(np.tile(tokens, (50, 1)))))
    document = np.repeat([0, 1, 2], [6, 5, 5])
    weights, seen = batch["context_weights"][..., 0], set()
    for row, place, column in zip(*np.nonzero(weights), strict=True):
        word, neighbour = batch["tokens"][row, place] - 6, batch["contexts"][row, place, column, 0] - 6
        assert document[word] == document[neighbour]
        seen.add((int(word), int(neighbour)))
    near = [(a, b) for a in range(LENGTH) for b in range(LENGTH) if 0 < abs(a - b) <= WINDOW]
    special = {5, 9, 10}
    assert seen == {(a, b) for a, b in near if document[a] == document[b] and not {a, b} & special}


def test_sums_over_large_batches_are_exact(objective):
    shape = (32, 512, 10, 6)
    scores = np.full(shape, 0.25, np.float32)  # what is rounded away is always the same
    terms = jax.jit(lambda scores: objective.loss(
        Outputs(heads={"context": scores}), {"context_weights": jnp.ones(shape, jnp.float32)}
    ))(scores)  # fmt: skip
    signs = np.where(np.arange(6) == 0, -1, 1)
    expected = np.logaddexp(0, signs * scores.astype(np.float64)).sum()
    np.testing.assert_allclose(terms["loss"].sum, expected, rtol=2e-6)
    assert terms["loss"].weight == 32 * 512 * 10 and terms["accuracy"].weight == np.prod(shape)


def test_bits_are_those_of_the_step(corrupt):
    tokens = np.random.default_rng(0).integers(6, 32, (4, LENGTH)).astype(np.int32)
    first, again, other = (corrupt(jax.random.key(k), rows(tokens)) for k in (0, 0, 1))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert (np.asarray(first["contexts"]) != np.asarray(other["contexts"])).any()


def test_loss_is_a_logistic_regression_of_pairs(objective, corrupt):
    tokens = np.random.default_rng(0).integers(6, 32, (3, LENGTH)).astype(np.int32)
    batch = corrupt(jax.random.key(0), rows(tokens))
    scores = np.random.default_rng(1).normal(0, 2, batch["contexts"].shape)
    terms = objective.loss(Outputs(heads={"context": jnp.asarray(scores, jnp.float32)}), batch)
    weights = np.asarray(batch["context_weights"])
    total = pairs = 0.0
    for place in np.ndindex(weights.shape[:3]):
        if weights[(*place, 0)]:
            pairs += 1
            total += np.log1p(np.exp(-scores[(*place, 0)]))
            for k in range(1, NEGATIVES + 1):
                total += weights[(*place, k)] * np.log1p(np.exp(scores[(*place, k)]))
    np.testing.assert_allclose(terms["loss"].sum, total, rtol=1e-5)
    assert terms["loss"].weight == pairs
    zeros = objective.loss(Outputs(heads={"context": jnp.zeros(weights.shape)}), batch)["loss"]
    np.testing.assert_allclose(zeros.sum, weights.sum() * np.log(2), rtol=1e-5)
    assert zeros.sum / zeros.weight <= (NEGATIVES + 1) * np.log(2)


def test_tables_of_words():
    counts = np.array([0, 8, 1, 0, 7, 0])
    table = noise_table(counts, 1.0)
    np.testing.assert_allclose(np.diff(table, prepend=0), counts / 16, atol=1e-6)
    assert table[-2:].tolist() == [1.0, 1.0]  # a draw below 1 finds no word behind the last that has a count
    np.testing.assert_allclose(np.diff(noise_table(counts, 0.0), prepend=0), (counts > 0) / 3, atol=1e-6)
    assert (keep_probabilities(counts, 0.0) == 1).all()
    np.testing.assert_allclose(keep_probabilities(counts, 0.125)[[1, 2]], [0.5, 1.0])


@pytest.mark.parametrize("options, message", [
    (dict(objective__negatives=0), "objective.negatives=0 must be at least 1"),
    (dict(objective__context_window=0), "objective.context_window=0 must be at least 1"),
    (dict(objective__context_window=LENGTH), "below data.sequence_length=16"),
    (dict(objective__subsample=1.0), r"objective.subsample=1.0 must be at least 0 and less than 1"),
    (dict(objective__noise_power=1.5), r"objective.noise_power=1.5 must be at least 0 and at most 1"),
    (dict(data__packing="sentences"), "leave it at windows"),
    (dict(data__sequence_length=1), "at least 2"),
    (dict(model={"architecture": "encoder"}), "one of glove, skip_gram, or objective.name to one of .*masked_lm"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("skip_gram", **(OPTIONS | options))
