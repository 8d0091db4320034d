"""BERT's masks: exact counts, shares, uniform places, nothing lost; and next-sentence prediction."""

import types

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from objectives.masked_lm import prediction_counts

VOCAB, CLS, SEP, MASK = 40, 2, 3, 4
LENGTH = 24
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less


@pytest.fixture(scope="module")
def objective(build):
    return build("masked_lm", data__sequence_length=LENGTH, data__packing="documents")


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def window_rows(count, seed=0):
    tokens = np.random.default_rng(seed).integers(6, 32, (count, LENGTH), dtype=np.int32)
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    return {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}


def packed_rows(lengths_by_row):
    """Rows of documents, each [CLS] ... [SEP] where it is long enough for that."""
    rows = {name: np.zeros((len(lengths_by_row), LENGTH), np.int32) for name in ("tokens", "segments", "positions")}
    rows["tokens"] += 11  # text where there is padding: segments alone say what is real
    for r, lengths in enumerate(lengths_by_row):
        at = 0
        for s, n in enumerate(lengths, start=1):
            n = min(n, LENGTH - at)
            piece = np.arange(n) % 20 + 10
            piece[:1], piece[1:][-1:] = CLS, SEP
            rows["tokens"][r, at : at + n] = piece
            rows["segments"][r, at : at + n] = s
            rows["positions"][r, at : at + n] = np.arange(n)
            at += n
    return rows | {"row": np.arange(len(lengths_by_row), dtype=np.int32)}


def check_batch(rows, batch, special):
    """Everything that holds for every row whatever was drawn."""
    batch = {name: np.asarray(value) for name, value in batch.items()}
    for r, tokens in enumerate(rows["tokens"]):
        real = rows["segments"][r] > 0 if "segments" in rows else np.ones(LENGTH, bool)
        candidates = real & ~special[tokens]
        expected = min(max(1, round(0.15 * int(real.sum()))), int(candidates.sum()))
        used = batch["target_weights"][r] == 1
        assert used.sum() == expected == batch["target_weights"][r].sum()
        positions = batch["prediction_positions"][r]
        assert (np.diff(positions[used]) > 0).all() and used[:expected].all() and not positions[~used].any()
        assert candidates[positions[used]].all()
        restored = batch["tokens"][r].copy()
        restored[positions[used]] = batch["targets"][r][used]
        np.testing.assert_array_equal(restored, tokens)


def test_counts_follow_the_reference_rule():
    counts = prediction_counts(512, 0.15, None)
    assert [counts[n] for n in (0, 1, 9, 10, 30, 50, 70, 128, 512)] == [1, 1, 1, 2, 4, 8, 10, 19, 77]
    assert prediction_counts(512, 0.15, 20)[[100, 128, 512]].tolist() == [15, 19, 20]


@hypothesis.given(st.lists(st.lists(st.integers(1, LENGTH), max_size=6), min_size=4, max_size=4))
@hypothesis.example([[], [1], [2], [LENGTH]])
@hypothesis.example([[1] * LENGTH, [2] * 12, [3], [LENGTH - 1]])
@hypothesis.settings(deadline=None, max_examples=40)
def test_exact_counts_no_special_tokens_and_nothing_lost(objective, corrupt, lengths):
    rows = packed_rows(lengths)
    batch = corrupt(jax.random.key(len(lengths[0])), rows)
    check_batch(rows, batch, objective.special)
    for name in ("segments", "positions"):
        np.testing.assert_array_equal(batch[name], rows[name])


def test_windows_have_no_segments_and_every_slot_is_used(objective, corrupt):
    rows = window_rows(64)
    batch = corrupt(jax.random.key(0), rows)
    check_batch(rows, batch, objective.special)
    assert set(batch) == {"tokens", "prediction_positions", "targets", "target_weights"}
    assert batch["targets"].shape == (64, 4) and batch["target_weights"].min() == 1


def test_shares_of_mask_random_and_kept(corrupt):
    rows = window_rows(8192)
    batch = corrupt(jax.random.key(1), rows)
    hidden = np.take_along_axis(np.asarray(batch["tokens"]), np.asarray(batch["prediction_positions"]), 1)
    masked, kept = (hidden == MASK).sum(), (hidden == batch["targets"]).sum()
    # A random token is [MASK], or the token itself, once in a vocabulary.
    assert stats.binomtest(int(masked), hidden.size, 0.8 + 0.1 / VOCAB).pvalue > UNLIKELY
    assert stats.binomtest(int(kept), hidden.size, 0.1 + 0.1 / VOCAB).pvalue > UNLIKELY


def test_places_are_uniform_over_candidates(corrupt):
    batch = corrupt(jax.random.key(2), window_rows(8192))
    times = np.bincount(np.asarray(batch["prediction_positions"]).ravel(), minlength=LENGTH)
    assert times[0] == times[-1] == 0
    assert stats.chisquare(times[1:-1]).pvalue > UNLIKELY
    # All pairs of places are as likely: nothing ties one draw to the next.
    chosen = np.zeros((8192, LENGTH), np.float64)
    np.put_along_axis(chosen, np.asarray(batch["prediction_positions"]), 1, axis=1)
    pairs = (chosen.T @ chosen)[np.triu_indices(LENGTH, 1)].reshape(-1)
    pairs = pairs[pairs > 0]
    assert pairs.size == 22 * 21 // 2 and stats.chisquare(pairs).pvalue > UNLIKELY


def test_random_tokens_are_uniform_over_the_whole_vocabulary(build):
    objective = build(
        "masked_lm",
        data__sequence_length=LENGTH,
        objective__mask_token_share=0.0,
        objective__random_token_share=1.0,
    )
    batch = jax.jit(objective.corrupt)(jax.random.key(3), window_rows(4096))
    hidden = np.take_along_axis(np.asarray(batch["tokens"]), np.asarray(batch["prediction_positions"]), 1)
    assert stats.chisquare(np.bincount(hidden.ravel(), minlength=VOCAB)).pvalue > UNLIKELY


def test_nothing_changes_when_all_is_kept(build):
    objective = build(
        "masked_lm", data__sequence_length=LENGTH, objective__mask_token_share=0.0, objective__random_token_share=0.0
    )
    rows = window_rows(4)
    np.testing.assert_array_equal(jax.jit(objective.corrupt)(jax.random.key(0), rows)["tokens"], rows["tokens"])


def test_max_predictions_caps_the_slots(build):
    objective = build("masked_lm", data__sequence_length=LENGTH, objective__max_predictions=2)
    batch = jax.jit(objective.corrupt)(jax.random.key(0), window_rows(4))
    assert batch["targets"].shape == (4, 2) and batch["target_weights"].min() == 1


def test_bits_depend_on_key_and_place_only(objective, corrupt):
    rows, key = window_rows(4), jax.random.key(4)
    whole = corrupt(key, rows)
    again = corrupt(key, rows)
    part = corrupt(key, {name: value[2:4] for name, value in rows.items()})
    other = corrupt(jax.random.fold_in(key, 1), rows)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[2:4], part[name])
    assert (whole["prediction_positions"] != other["prediction_positions"]).any(axis=1).all()
    # The same text at two places gets two masks.
    twice = corrupt(key, {"tokens": np.repeat(rows["tokens"][:1], 4, axis=0), "row": np.arange(4)})
    assert len(np.unique(np.asarray(twice["prediction_positions"]), axis=0)) > 1


def test_runs_on_the_device_and_refuses_other_generators(objective):
    rows = window_rows(2)
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(jax.random.key(0), rows))
    with pytest.raises(ValueError, match="threefry"):
        objective.corrupt(jax.random.key(0, impl="rbg"), rows)


@pytest.fixture(scope="module")
def pairs(build):
    return build("masked_lm", data__sequence_length=LENGTH, objective__pairs="next_sentence")


def test_declares_what_it_reads(build, objective, pairs, tables):
    assert (pairs.rows.kind, pairs.rows.start, pairs.rows.end, pairs.rows.short_pair_rate) == ("pairs", (2,), (3,), 0.1)
    assert pairs.outputs == ("mlm", "nsp") and not pairs.rows.swapped
    assert (objective.rows.kind, objective.rows.length, objective.outputs) == ("documents", LENGTH, ("mlm",))
    bare = build("masked_lm", tables=tables(cls=None, sep=None)).rows
    assert (bare.kind, bare.start, bare.end, bare.document_end) == ("windows", (), (), None)


def test_pairs_keep_types_and_labels(objective, pairs):
    rows = packed_rows([[9], [LENGTH]])
    rows["segments"] = (rows["segments"] > 0).astype(np.int32)
    del rows["positions"]
    rows |= {"token_types": rows["segments"] * (np.arange(LENGTH) > 4), "labels": np.array([1, 0], np.int32)}
    batch = jax.jit(pairs.corrupt)(jax.random.key(0), rows)
    check_batch(rows, batch, objective.special)
    for name in ("segments", "token_types", "labels"):
        np.testing.assert_array_equal(batch[name], rows[name])
    assert "positions" not in batch and batch["label_weights"].tolist() == [1.0, 1.0]


def test_loss_equals_a_loop(pairs):
    logits = jax.random.normal(jax.random.key(0), (2, 3, VOCAB))
    nsp_logits = jnp.array([[2.0, -1.0], [0.5, 0.25]])
    batch = {
        "targets": jnp.array([[7, 8, 9], [10, 7, 7]]),
        "target_weights": jnp.array([[1.0, 1, 1], [1, 0, 0]]),
        "labels": jnp.array([0, 1]),
        "label_weights": jnp.ones(2),
    }
    terms = pairs.loss(types.SimpleNamespace(logits=logits, nsp_logits=nsp_logits), batch)
    log_p, log_q = np.asarray(jax.nn.log_softmax(logits)), np.asarray(jax.nn.log_softmax(nsp_logits))
    expected = -(log_p[0, 0, 7] + log_p[0, 1, 8] + log_p[0, 2, 9] + log_p[1, 0, 10])
    np.testing.assert_allclose(terms["mlm"].sum, expected, rtol=1e-6)
    np.testing.assert_allclose(terms["nsp"].sum, -(log_q[0, 0] + log_q[1, 1]), rtol=1e-6)
    assert (terms["nsp_accuracy"].sum, terms["nsp_accuracy"].weight, terms["mlm_accuracy"].weight) == (1, 2, 4)
    assert {name: term.coefficient for name, term in terms.items()} == {
        "mlm": 1.0,
        "mlm_accuracy": 0.0,
        "nsp": 1.0,
        "nsp_accuracy": 0.0,
    }
