"""UniLM: the shares of its directions, what each lets tokens see, and where next sentences count."""

import hypothesis
import jax
import numpy as np
import pytest
from flax.core import meta
from hypothesis import strategies as st
from scipy import stats

from cloze import models
from cloze.errors import ConfigError
from cloze.models.inputs import Visibility

VOCAB, CLS, SEP, MASK = 40, 2, 3, 4
LENGTH = 24
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less
BIDIRECTIONAL, ONWARD, BACKWARD, SEQUENCES = range(4)
DIRECTION = {0: BIDIRECTIONAL, 1: BIDIRECTIONAL, 2: ONWARD, 3: BACKWARD, 4: SEQUENCES, 5: SEQUENCES}  # by token type


@pytest.fixture(scope="module")
def objective(build):
    return build("unilm", data__sequence_length=LENGTH)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def pair_rows(sizes, labels, seed=0):
    """Rows [CLS] A [SEP] B [SEP] of the given sizes of A and B; (0, 0) is a row of padding alone."""
    rows = {name: np.zeros((len(sizes), LENGTH), np.int32) for name in ("tokens", "segments", "token_types")}
    rng = np.random.default_rng(seed)
    for r, (a, b) in enumerate(sizes):
        if a + b == 0:
            continue
        a = min(a, LENGTH - 3)
        b = min(b, LENGTH - 3 - a)
        rows["tokens"][r, : a + b + 3] = rng.integers(6, 32, a + b + 3)
        rows["tokens"][r, [0, a + 1, a + b + 2]] = CLS, SEP, SEP
        rows["segments"][r, : a + b + 3] = 1
        rows["token_types"][r, a + 2 : a + b + 3] = 1
    return rows | {"labels": np.asarray(labels, np.int32), "row": np.arange(len(sizes), dtype=np.int32)}


def plain_mask(direction, first, real):
    """Who sees whom, bool [T, T] of query and key, by plain loops; `first` tokens are those of [CLS] A [SEP]."""
    mask = np.zeros((real, real), bool)
    for query in range(real):
        for key in range(real):
            if direction == BIDIRECTIONAL:
                mask[query, key] = True
            elif direction == ONWARD:
                mask[query, key] = key <= query
            elif direction == BACKWARD:
                mask[query, key] = key >= query
            else:
                mask[query, key] = key < first or (query >= first and key <= query)
    return mask


sizes_of_four = st.lists(st.tuples(st.integers(0, LENGTH), st.integers(0, LENGTH)), min_size=4, max_size=4)


@hypothesis.given(sizes_of_four, st.lists(st.integers(0, 1), min_size=4, max_size=4), st.integers(0, 999))
@hypothesis.example([(0, 0), (1, 0), (1, 1), (LENGTH, LENGTH)], [0, 0, 0, 0], 0)
@hypothesis.settings(deadline=None, max_examples=60)
def test_rows_are_whole_and_see_what_their_direction_says(objective, corrupt, sizes, labels, seed):
    rows = pair_rows(sizes, labels, seed)
    batch = {name: np.asarray(array) for name, array in corrupt(jax.random.key(seed), rows).items()}
    seen = np.asarray(
        Visibility(
            query_segments=batch["segments"],
            key_segments=batch["segments"],
            query_ranks=batch["ranks"],
            key_ranks=batch["ranks"],
        ).mask(LENGTH, LENGTH)
    )
    for r, tokens in enumerate(rows["tokens"]):
        real = int(rows["segments"][r].sum())
        first = real - int(rows["token_types"][r].sum())
        (direction,) = {DIRECTION[int(kind)] for kind in batch["token_types"][r]}
        expected = {
            BIDIRECTIONAL: rows["token_types"][r],
            ONWARD: np.full(LENGTH, 2),
            BACKWARD: np.full(LENGTH, 3),
            SEQUENCES: 4 + rows["token_types"][r],
        }
        np.testing.assert_array_equal(batch["token_types"][r], expected[direction])
        np.testing.assert_array_equal(seen[r, :real, :real], plain_mask(direction, first, real))
        assert not seen[r, :real, real:].any()
        assert batch["label_weights"][r] == (direction == BIDIRECTIONAL) >= labels[r]

        used = batch["target_weights"][r] == 1
        positions, restored = batch["prediction_positions"][r], batch["tokens"][r].copy()
        text = rows["segments"][r].astype(bool) & ~objective.special[tokens]
        assert used.sum() == min(max(1, round(0.15 * real)), text.sum())
        assert text[positions[used]].all() and (np.diff(positions[used]) > 0).all()
        restored[positions[used]] = batch["targets"][r][used]
        np.testing.assert_array_equal(restored, tokens)


@pytest.fixture(scope="module")
def many(objective, corrupt):
    """Rows as the data gives them, a sixth of them with a second text from elsewhere, and their batch.

    They have 23 tokens, so that three of their four slots are used.
    """
    labels = np.random.default_rng(0).random(20_000) < objective.rows.random_rate
    rows = pair_rows([(10, 10)] * len(labels), labels)
    return rows, {name: np.asarray(array) for name, array in corrupt(jax.random.key(0), rows).items()}


def test_shares_of_directions_are_the_papers(many):
    rows, batch = many
    times = np.bincount([DIRECTION[int(kind)] for kind in batch["token_types"][:, 0]], minlength=4)
    shares = np.array([1 / 3, 1 / 6, 1 / 6, 1 / 3])
    assert stats.chisquare(times, times.sum() * shares).pvalue > UNLIKELY
    # Half of the pairs whose order is scored are from elsewhere, and all that are from elsewhere are scored.
    scored = batch["label_weights"] == 1
    assert stats.binomtest(int(rows["labels"][scored].sum()), int(scored.sum()), 0.5).pvalue > UNLIKELY
    assert scored[rows["labels"] == 1].all()


def test_tokens_are_replaced_one_by_one(many):
    _, batch = many
    hidden = np.take_along_axis(batch["tokens"], batch["prediction_positions"], 1)[:, :3]
    assert stats.binomtest(int((hidden == MASK).sum()), hidden.size, 0.8 + 0.1 / VOCAB).pvalue > UNLIKELY
    kept = int((hidden == batch["targets"][:, :3]).sum())
    assert stats.binomtest(kept, hidden.size, 0.1 + 0.1 / VOCAB).pvalue > UNLIKELY


def plain_places(rng, runs, count):
    """UniLM's choice by plain loops over the places of both texts: one token, or in a fifth of the draws 2 or 3."""
    hidden = set()
    while len(hidden) < count:
        size = 1 if rng.random() < 0.8 else rng.integers(2, 4)
        anchor = rng.choice([place for run in runs for place in run])
        if anchor not in hidden:
            (run,) = [run for run in runs if anchor in run]
            for place in range(anchor, min(anchor + size, run[-1] + 1)):
                if len(hidden) < count:
                    hidden.add(place)
    return hidden


def test_a_fifth_of_the_draws_hides_neighbours(many):
    _, batch = many
    rng, runs = np.random.default_rng(1), [range(1, 11), range(12, 22)]
    draws = [sorted(plain_places(rng, runs, 3)) for _ in range(10_000)]
    # Three tokens of a row: how often each place is hidden, and how many of them are neighbours.
    for measure in (
        lambda places: np.bincount(np.ravel(places), minlength=LENGTH),
        lambda places: np.bincount((np.diff(places, axis=1) == 1).sum(axis=1), minlength=3),
    ):
        table = np.stack([measure(batch["prediction_positions"][:, :3]), measure(np.array(draws))])
        assert stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue > UNLIKELY


def test_draws_depend_on_key_and_place_only(objective, corrupt):
    rows = pair_rows([(8, 9)] * 4, [0] * 4)
    whole, again = corrupt(jax.random.key(3), rows), corrupt(jax.random.key(3), rows)
    moved = corrupt(jax.random.key(3), {name: array[::-1] for name, array in rows.items()})
    other = corrupt(jax.random.key(4), rows)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array, moved[name][::-1])
    assert (whole["prediction_positions"] != other["prediction_positions"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(jax.random.key(0), rows))


def test_declares_what_it_reads(build, objective):
    rows = objective.rows
    assert (rows.kind, rows.start, rows.end, rows.two_sentences) == ("pairs", (CLS,), (SEP,), True)
    assert rows.random_rate == pytest.approx(1 / 6) and objective.outputs == ("mlm", "nsp")
    other = build("unilm", objective__direction_shares=(0.5, 0.3, 0.1, 0.1), objective__longest_ngram=2)
    assert other.rows.random_rate == pytest.approx(0.25)
    np.testing.assert_allclose(other.unit_shares(), [0.8, 0.2])


def test_predictions_depend_on_what_their_direction_shows(objective, corrupt):
    config = models.ModelConfig(
        family="unilm", preset="", architecture="encoder", layers=2, width=8, heads=2, ffn=8, vocab_size=VOCAB,
        max_positions=LENGTH, token_types=6, heads_out=objective.outputs, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    model = objective.model(config)
    rows = pair_rows([(8, 9)] * 16, [0] * 16)
    batch = corrupt(jax.random.key(0), rows)
    params = jax.jit(lambda: meta.unbox(model.init(jax.random.key(0), batch))["params"])()

    @jax.jit
    def hidden(tokens):
        return model.apply({"params": params}, batch | {"tokens": tokens}, deterministic=True).hidden

    directions = [DIRECTION[int(kind)] for kind in batch["token_types"][:, 0]]
    assert set(directions) == {0, 1, 2, 3}
    plain = np.asarray(hidden(batch["tokens"]))
    for place in (5, 13):
        changed = np.asarray(batch["tokens"]).copy()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        moved = (np.asarray(hidden(changed)) != plain).any(axis=-1)[:, :20]
        for r, direction in enumerate(directions):
            np.testing.assert_array_equal(moved[r], plain_mask(direction, 10, 20)[:, place])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": {"token_types": 2}}, "by 6 token types, but .* has 2: set model.family=unilm"),
        ({"objective__direction_shares": (0.5, 0.5)}, "must be four shares that sum to 1"),
        ({"objective__direction_shares": (0.0, 0.5, 0.3, 0.2)}, "the first, on which .* must be above 0"),
        ({"objective__direction_shares": (0.5, 0.3, 0.2, 0.1)}, "must be four shares that sum to 1"),
        ({"objective__ngram_share": 1.0}, r"objective.ngram_share=1.0 must be at least 0 and less than 1"),
        ({"objective__longest_ngram": 1}, "objective.longest_ngram=1 must be at least 2"),
        ({"objective__short_pair_rate": 2.0}, "objective.short_pair_rate"),
        ({"data__packing": "documents"}, "leave it at windows"),
        ({"data__sequence_length": 4}, "at least 5"),
    ],
)
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("unilm", **options)


def test_a_tokenizer_without_separators_is_refused(build, tables):
    with pytest.raises(ConfigError, match="objective.name=unilm needs the special tokens cls, sep"):
        build("unilm", tables=tables(cls=None, sep=None))
