"""Masked tokens: exact counts, shares, uniform places, nothing lost; units, static masks and pairs."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import stats

from cloze.errors import ConfigError
from cloze.models import Outputs
from cloze.objectives import masking
from cloze.objectives.masked_lm import UNITS

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
    terms = pairs.loss(Outputs(heads={"mlm": logits, "nsp": nsp_logits}), batch)
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


@pytest.fixture(scope="module")
def continued(tables):
    """Tables in which ids 10 to 19 continue words."""
    made = tables()
    made.starts_word[10:20] = False
    return made


@pytest.fixture(scope="module")
def by_unit(build, continued):
    """unit -> its objective."""
    made = {}
    for unit in UNITS:
        packing = "windows" if unit == "entities" else "documents"
        options = dict(data__sequence_length=LENGTH, data__packing=packing, objective__masking=unit)
        made[unit] = build("masked_lm", tables=continued, objective__mask_rate=0.25, **options)
    return made


def flagged(rows):
    """Rows with two names, of one token and of two, in each of two sentences."""
    flags = np.zeros_like(rows["tokens"])
    flags[:, [3, 7, 12, 16]] = masking.ENTITY_START | masking.ENTITY
    flags[:, [8, 17]] = masking.ENTITY
    flags[:, 10] |= masking.SENTENCE_END
    return rows | {"flags": flags}


@pytest.fixture(scope="module", params=UNITS)
def hidden(request, by_unit):
    """A unit, rows and their batch."""
    rows = flagged(window_rows(4096))
    batch = jax.jit(by_unit[request.param].corrupt)(jax.random.key(1), rows)
    return request.param, rows, {name: np.asarray(array) for name, array in batch.items()}


def test_every_unit_keeps_the_budget_and_loses_nothing(hidden, tables):
    unit, rows, batch = hidden
    special, count = tables().special, 6  # of 24 tokens, or of 22 rounded up
    for r, tokens in enumerate(rows["tokens"][:256]):
        used = batch["target_weights"][r] == 1
        positions, restored = batch["prediction_positions"][r], batch["tokens"][r].copy()
        assert used.sum() <= count and (used.sum() == count or unit not in ("tokens", "spans"))
        assert (np.diff(positions[used]) > 0).all() and not positions[~used].any()
        assert not special[tokens[positions[used]]].any()
        restored[positions[used]] = batch["targets"][r][used]
        np.testing.assert_array_equal(restored, tokens)
    if unit == "entities":
        assert set(batch["prediction_positions"][batch["target_weights"] == 1]) == {3, 7, 8, 12, 16, 17}
    assert batch["target_weights"].sum(axis=1).mean() > (2.9 if unit == "entities" else 0.9 * count)


def test_one_draw_replaces_a_span_and_each_token_of_other_units(hidden):
    unit, _, batch = hidden
    positions, used = batch["prediction_positions"], batch["target_weights"] == 1
    masked = np.take_along_axis(batch["tokens"], positions, 1) == MASK
    neighbours = used[:, 1:] & (np.diff(positions) == 1)
    alike = (masked[:, 1:] == masked[:, :-1])[neighbours]
    once = 0.8 + 0.1 / VOCAB  # a random token may be [MASK]
    drawn = used
    if unit in ("spans", "entities"):
        assert alike.mean() > 0.99  # but for random tokens that are [MASK]
        drawn = used & ~np.pad(neighbours, ((0, 0), (1, 0)))  # once a span
    else:
        assert stats.binomtest(int(alike.sum()), alike.size, once**2 + (1 - once) ** 2).pvalue > UNLIKELY
    assert stats.binomtest(int(masked[drawn].sum()), int(drawn.sum()), once).pvalue > UNLIKELY


@pytest.mark.parametrize("unit", UNITS[1:])
def test_units_are_chosen_where_their_rows_lie(by_unit, unit):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    by_row = NamedSharding(mesh, PartitionSpec("data"))
    rows = jax.device_put(flagged(window_rows(4)), by_row)
    program = jax.jit(by_unit[unit].corrupt, out_shardings=by_row).lower(jax.random.key(0), rows).compile().as_text()
    assert "all-gather" not in program and "all-reduce" not in program and "collective-permute" not in program


def test_entities_ask_for_flags(by_unit):
    asked = {unit: (objective.rows.flags, objective.rows.entities) for unit, objective in by_unit.items()}
    assert asked == {unit: (unit == "entities",) * 2 for unit in UNITS}


def test_full_sentences_have_padding(build, tables):
    objective = build("masked_lm", data__sequence_length=LENGTH, data__packing="sentences")
    assert objective.rows.kind == "sentences"
    rows = packed_rows([[LENGTH - 5], [LENGTH], [1], []])
    del rows["positions"]
    batch = jax.jit(objective.corrupt)(jax.random.key(0), rows)
    check_batch(rows, batch, tables().special)
    np.testing.assert_array_equal(batch["segments"], rows["segments"])


def test_static_masks_come_back_with_their_row(build):
    objective = build("masked_lm", data__sequence_length=LENGTH, objective__static_masks=2)
    corrupt, rows = jax.jit(objective.corrupt), window_rows(64)

    def positions(step, epoch, order=slice(None)):
        seen = rows | {"row_id": np.arange(64, dtype=np.int32), "epoch": np.full(64, epoch, np.int32)}
        seen = {name: array[order] for name, array in seen.items()} | {"row": rows["row"]}
        return np.asarray(corrupt(jax.random.key(step), seen)["prediction_positions"])

    first = positions(0, 0)
    np.testing.assert_array_equal(positions(7, 0), first)  # another step, or validation
    np.testing.assert_array_equal(positions(8, 2, np.arange(64)[::-1]), first[::-1])  # two epochs on, another order
    assert (positions(0, 1) != first).any(axis=1).mean() > 0.9
    assert len(np.unique(first, axis=0)) > 60
    other = build("masked_lm", data__sequence_length=LENGTH, objective__static_masks=2)
    other = dataclasses.replace(other, seed=1)
    seen = rows | {"row_id": np.arange(64, dtype=np.int32), "epoch": np.zeros(64, np.int32)}
    batch = jax.jit(other.corrupt)(jax.random.key(0), seen)
    assert (np.asarray(batch["prediction_positions"]) != first).any(axis=1).mean() > 0.9


def test_sentence_order_has_terms_of_its_name(build):
    objective = build("masked_lm", data__sequence_length=LENGTH, objective__pairs="sentence_order")
    assert objective.rows.swapped and objective.outputs == ("mlm", "nsp")
    batch = {"targets": jnp.zeros((2, 1), int), "target_weights": jnp.zeros((2, 1)), "labels": jnp.array([0, 1])}
    outputs = Outputs(heads={"mlm": jnp.zeros((2, 1, VOCAB)), "nsp": jnp.array([[1.0, 0], [3, 0]])})
    terms = objective.loss(outputs, batch | {"label_weights": jnp.ones(2)})
    assert set(terms) == {"mlm", "mlm_accuracy", "sop", "sop_accuracy"}
    expected = np.log1p(np.exp(-1)) + np.log1p(np.exp(3))
    np.testing.assert_allclose(terms["sop"].sum, expected, rtol=1e-6)
    assert (terms["sop"].coefficient, terms["sop_accuracy"].sum, terms["sop_accuracy"].weight) == (1.0, 1, 2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__masking": "word"}, "objective.masking='word' is not one of tokens, whole_words"),
        ({"objective__pairs": "order"}, "objective.pairs='order' is not one of none, next_sentence, sentence_order"),
        (
            {"objective__masking": "ngrams", "objective__longest_ngram": 0},
            "objective.longest_ngram=0 must be at least 1",
        ),
        (
            {"objective__masking": "spans", "objective__longest_span": 25, "data__sequence_length": 24},
            "objective.longest_span=25 is longer than the row, data.sequence_length=24",
        ),
        (
            {"objective__masking": "spans", "objective__span_success": 0.0},
            r"objective.span_success=0.0 must be more than 0 and at most 1",
        ),
        ({"objective__masking": "entities", "data__packing": "documents"}, "leave it at windows"),
        ({"objective__masking": "entities", "objective__pairs": "next_sentence"}, "set objective.pairs=none"),
        ({"objective__static_masks": -1}, "objective.static_masks=-1 must be at least 0"),
        (
            {"objective__static_masks": 2, "objective__pairs": "next_sentence"},
            "objective.static_masks=2 needs objective.pairs=none",
        ),
        ({"objective__pairs": "sentence_order", "model": {"token_types": 1}}, "pairs=sentence_order needs two token"),
    ],
)
def test_options_that_do_not_go_together_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("masked_lm", **options)
