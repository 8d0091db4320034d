"""SpanBERT's second loss: the ends of every span, and who learns from it."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from hypothesis import strategies as st

from cloze import models
from cloze.errors import ConfigError
from cloze.models import Outputs, names

VOCAB, CLS, SEP = 40, 2, 3
LENGTH = 24


@pytest.fixture(scope="module")
def objective(build):
    return build(
        "span_boundary",
        data__sequence_length=LENGTH,
        data__packing="documents",
        objective__mask_rate=0.4,
        objective__boundary_targets=3,
    )


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def packed_rows(lengths_by_row):
    """Rows of documents, each [CLS] ... [SEP] where it is long enough for that, but for odd rows."""
    rows = {name: np.zeros((len(lengths_by_row), LENGTH), np.int32) for name in ("tokens", "segments", "positions")}
    for r, lengths in enumerate(lengths_by_row):
        segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)[:LENGTH]
        rows["segments"][r, : len(segments)] = segments
        rows["tokens"][r] = np.arange(LENGTH) % 20 + 10
        if r % 2 == 0:
            begins = np.flatnonzero(np.diff(rows["segments"][r], prepend=0))
            rows["tokens"][r, begins] = CLS
            rows["tokens"][r, begins[1:] - 1] = SEP
    return rows | {"row": np.arange(len(lengths_by_row), dtype=np.int32)}


def plain_ends(tokens, segments, hidden, targets):
    """{hidden place: (left, right, offset)} by plain loops, for places that the second loss scores."""

    def text(i, segment):
        return 0 <= i < LENGTH and segments[i] == segment and tokens[i] >= 6

    found = {}
    for place in hidden:
        left = right = place
        while left in hidden and segments[left] == segments[place]:
            left -= 1
        while right in hidden and segments[right] == segments[place]:
            right += 1
        beside = text(left, segments[place]) and text(right, segments[place])
        if beside and place - left - 1 < targets:
            found[place] = (left, right, place - left - 1)
    return found


@hypothesis.given(st.lists(st.lists(st.integers(1, LENGTH), max_size=5), min_size=4, max_size=4), st.integers(0, 99))
@hypothesis.example([[], [1], [2], [LENGTH]], 0)
@hypothesis.example([[1] * LENGTH, [3] * 8, [3], [LENGTH - 1]], 1)
@hypothesis.settings(deadline=None, max_examples=40)
def test_every_span_lies_between_its_ends(corrupt, lengths, seed):
    rows = packed_rows(lengths)
    batch = {name: np.asarray(array) for name, array in corrupt(jax.random.key(seed), rows).items()}
    for r in range(4):
        tokens, segments, positions = rows["tokens"][r], rows["segments"][r], batch["prediction_positions"][r]
        used, scored = batch["target_weights"][r] == 1, batch["boundary_weights"][r] == 1
        text = int(((segments > 0) & (tokens >= 6)).sum())
        assert used.sum() == min(text, max(1, np.ceil(0.4 * text)))
        hidden = set(positions[used].tolist())
        expected = plain_ends(tokens, segments, hidden, targets=3)
        assert not (scored & ~used).any() and set(positions[scored].tolist()) == set(expected)
        names = ("span_left", "span_right", "span_offsets")
        for slot, place in enumerate(positions):
            found = tuple(int(batch[name][r, slot]) for name in names)
            assert found == (expected[place] if scored[slot] else (0, 0, 0))


def test_all_tokens_but_those_of_spans_at_the_edge_are_scored(build):
    objective = build("span_boundary", data__sequence_length=LENGTH, objective__boundary_targets=20)
    tokens = np.full((4096, LENGTH), 9, np.int32)
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    batch = jax.jit(objective.corrupt)(jax.random.key(0), {"tokens": tokens, "row": np.arange(4096)})
    hidden = np.zeros((4096, LENGTH), bool)
    np.put_along_axis(hidden, np.asarray(batch["prediction_positions"]), True, axis=1)
    assert (hidden.sum(axis=1) == 4).all()  # 15% of 22, rounded up
    touching = hidden[:, 1] | hidden[:, -2]
    scored = np.asarray(batch["boundary_weights"]).sum(axis=1)
    assert (scored[~touching] == 4).all() and (scored[touching] < 4).all() and 0.1 < touching.mean() < 0.6
    assert np.asarray(batch["span_offsets"]).max() == 3


def test_merged_spans_are_one(build):
    objective = build("span_boundary", data__sequence_length=LENGTH, objective__mask_rate=0.9)
    tokens = np.full((64, LENGTH), 9, np.int32)
    batch = jax.jit(objective.corrupt)(jax.random.key(0), {"tokens": tokens, "row": np.arange(64)})
    batch = {name: np.asarray(array) for name, array in batch.items()}
    visible = np.ones((64, LENGTH), bool)
    np.put_along_axis(visible, batch["prediction_positions"], False, axis=1)
    scored = batch["boundary_weights"] == 1
    assert scored.any()
    for name in ("span_left", "span_right"):
        assert np.take_along_axis(visible, batch[name], 1)[scored].all()


def test_declares_what_it_reads(build, objective):
    assert objective.outputs == ("mlm", "sbo") and objective.rows.kind == "documents"
    assert build("span_boundary").rows.kind == "windows"
    assert build("span_boundary", objective__pairs="next_sentence").outputs == ("mlm", "nsp", "sbo")


def test_loss_equals_a_loop(objective):
    keys = jax.random.split(jax.random.key(0))
    logits, boundary_logits = (jax.random.normal(key, (2, 3, VOCAB)) for key in keys)
    outputs = Outputs(heads={"mlm": logits, "sbo": boundary_logits})
    batch = {
        "targets": jnp.array([[7, 8, 9], [10, 7, 7]]),
        "target_weights": jnp.array([[1.0, 1, 1], [1, 0, 0]]),
        "boundary_weights": jnp.array([[1.0, 0, 1], [0, 0, 0]]),
    }
    terms = objective.loss(outputs, batch)
    log_p, log_q = (np.asarray(jax.nn.log_softmax(x)) for x in (logits, boundary_logits))
    np.testing.assert_allclose(
        terms["mlm"].sum, -(log_p[0, 0, 7] + log_p[0, 1, 8] + log_p[0, 2, 9] + log_p[1, 0, 10]), rtol=1e-6
    )
    np.testing.assert_allclose(terms["sbo"].sum, -(log_q[0, 0, 7] + log_q[0, 2, 9]), rtol=1e-6)
    assert (terms["mlm"].weight, terms["sbo"].weight, terms["sbo_accuracy"].weight) == (4, 2, 2)
    coefficients = {name: term.coefficient for name, term in terms.items()}
    heavier = dataclasses.replace(objective, boundary_weight=2.5).loss(outputs, batch)
    assert heavier["sbo"] == terms["sbo"]._replace(coefficient=2.5)
    assert coefficients == {"mlm": 1.0, "mlm_accuracy": 0.0, "sbo": 1.0, "sbo_accuracy": 0.0}


def test_each_loss_trains_its_head_and_both_the_body(corrupt, objective):
    config = models.ModelConfig(
        family="spanbert", preset="", architecture="encoder", layers=1, width=8, heads=2, ffn=8, vocab_size=VOCAB,
        max_positions=LENGTH, heads_out=objective.outputs, dropout=0.0, attention_dropout=0.0,
        scan=False,
    )  # fmt: skip
    model = objective.model(config)
    batch = corrupt(jax.random.key(1), packed_rows([[LENGTH]] * 4))
    params = jax.jit(lambda: meta.unbox(model.init(jax.random.key(0), batch))["params"])()

    @jax.jit
    def gradients(params):
        def sums(params):
            terms = objective.loss(model.apply({"params": params}, batch, deterministic=True), batch)
            return {name: terms[name].sum for name in ("mlm", "sbo")}

        _, backward = jax.vjp(sums, params)
        return {name: backward({"mlm": 0.0, "sbo": 0.0} | {name: 1.0})[0] for name in ("mlm", "sbo")}

    found = {}
    for name, tree in gradients(params).items():
        found[name] = {key.split("/")[0] for key, leaf in names.flatten(tree).items() if np.abs(leaf).max() > 0}
    assert found["mlm"] - found["sbo"] == {"mlm_head"} and found["sbo"] - found["mlm"] == {"sbo_head"}
    assert {"encoder", "encoder_embeddings", "token"} <= found["mlm"] & found["sbo"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__boundary_weight": -1.0}, "objective.boundary_weight=-1.0 must be at least 0"),
        ({"objective__boundary_targets": 21}, "objective.boundary_targets=21 must be at least 1 and at most 20"),
        ({"objective__boundary_targets": 0}, "objective.boundary_targets=0 must be at least 1"),
        ({"objective__longest_span": 600}, "objective.longest_span=600 is longer than the row"),
        ({"objective__mask_rate": 1.0}, r"objective.mask_rate=1.0 must be more than 0 and less than 1"),
    ],
)
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("span_boundary", **options)


def test_a_tokenizer_without_a_mask_is_refused(build, tables):
    with pytest.raises(ConfigError, match="objective.name=span_boundary needs the special token mask"):
        build("span_boundary", tables=tables(mask=None))
