"""Labels of every kind are scored as by hand, and texts stand between the tokens of their model's pretraining."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models import Outputs

LENGTH, LABELS = 8, 3
DECODER = {"architecture": "decoder", "pooling": "last"}
RNG = np.random.default_rng(0)


def logsumexp(values):
    return np.log(np.exp(np.asarray(values, np.float64)).sum())


def term(terms, name):
    return float(terms[name].sum), float(terms[name].weight), terms[name].coefficient


def test_batches_stay_as_they_are_and_the_next_token_is_never_anothers_text(build):
    objective = build("supervised", data__sequence_length=LENGTH, objective__lm_weight=0.5, model=DECODER)
    rows = {
        "tokens": np.arange(24, dtype=np.int32).reshape(3, 8) + 6,
        "segments": np.array([[1] * 8, [1, 1, 1, 2, 2, 0, 0, 0], [0] * 8], np.int32),
        "labels": np.array([1, 0, 2], np.int32),
    }
    batch = jax.jit(objective.corrupt)(jax.random.key(0), rows | {"row": np.arange(3)})
    for name, array in rows.items():
        np.testing.assert_array_equal(batch[name], array)
    assert batch["target_weights"].tolist() == [[1.0] * 7 + [0.0], [1, 1, 0, 1, 0, 0, 0, 0], [0.0] * 8]
    np.testing.assert_array_equal(batch["targets"][:, :-1], rows["tokens"][:, 1:])
    orders = {name: np.stack([rows[name]] * 2, axis=1) for name in ("tokens", "segments")}
    both = jax.jit(objective.corrupt)(jax.random.key(0), orders | {"row": np.arange(3)})
    np.testing.assert_array_equal(both["target_weights"][:, 1], batch["target_weights"])
    plain = build("supervised", data__sequence_length=LENGTH)
    assert set(plain.corrupt(jax.random.key(0), rows | {"row": np.arange(3)})) == set(rows)


def test_classes_and_the_next_token(build):
    objective = build("supervised", data__sequence_length=LENGTH, objective__lm_weight=0.5, model=DECODER)
    scores, logits = RNG.normal(size=(3, LABELS)), RNG.normal(size=(3, LENGTH, 40))
    targets = RNG.integers(0, 40, (3, LENGTH))
    outputs = Outputs(heads={"class": jnp.array(scores), "lm": jnp.array(logits)})
    batch = {
        "labels": jnp.array([2, 0, 1]), "label_weights": jnp.array([1.0, 0.0, 1.0]),
        "targets": jnp.array(targets), "target_weights": jnp.array(RNG.integers(0, 2, (3, LENGTH)), jnp.float32),
    }  # fmt: skip
    terms = objective.loss(outputs, batch)
    expected = sum(logsumexp(scores[b]) - scores[b, label] for b, label in ((0, 2), (2, 1)))
    assert term(terms, "class") == (pytest.approx(expected, rel=1e-5), 2, 1.0)
    assert term(terms, "accuracy")[0] == sum(scores[b].argmax() == label for b, label in ((0, 2), (2, 1)))
    scored = np.argwhere(np.asarray(batch["target_weights"]) > 0)
    expected = sum(logsumexp(logits[b, t]) - logits[b, t, targets[b, t]] for b, t in scored)
    assert term(terms, "lm") == (pytest.approx(expected, rel=1e-5), len(scored), 0.5)
    assert terms["accuracy"].coefficient == terms["lm_accuracy"].coefficient == 0


def test_numbers(build):
    objective = build("supervised", task__kind="regression", model={"num_labels": 1})
    found, wanted, weights = RNG.normal(size=(2, 3, 1)), RNG.normal(size=(2, 3)), RNG.integers(0, 2, (2, 3))
    batch = {"labels": jnp.array(wanted), "label_weights": jnp.array(weights, jnp.float32)}
    terms = objective.loss(Outputs(heads={"class": jnp.array(found)}), batch)
    expected = sum((found[i, j, 0] - wanted[i, j]) ** 2 for i in range(2) for j in range(3) if weights[i, j])
    assert term(terms, "regression") == (pytest.approx(expected, rel=1e-5), weights.sum(), 1.0) and len(terms) == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_spans_compete_within_their_own_example(build, packed, smoothing):
    objective = build("supervised", task__kind="span", objective__label_smoothing=smoothing)
    logits = RNG.normal(size=(2, LENGTH, 2)) * 3
    segments = np.array([[1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 1, 1, 1, 0, 0, 0]])
    items = [(0, 0, (0, 2)), (0, 1, (4, 4)), (1, 0, (3, 4))] if packed else [(0, 0, (1, 2)), (1, 0, (0, 0))]
    labels, weights = np.zeros((2, 3, 2), int), np.zeros((2, 3))
    for row, slot, ends in items:
        labels[row, slot], weights[row, slot] = ends, 1
    if not packed:
        labels, weights = labels[:, 0], weights[:, 0]
    batch = {"labels": labels, "label_weights": weights.astype(np.float32), "segments": segments}
    batch = {name: jnp.array(array) for name, array in batch.items()}
    outputs = Outputs(heads={"span": jnp.array(logits, jnp.float32)})
    total = right = 0.0
    for row, slot, ends in items:
        own = np.flatnonzero(segments[row] == slot + 1)
        for end, place in enumerate(ends):
            scores = logits[row, own, end]
            target = (1 - smoothing) * logits[row, place, end] + smoothing * scores.mean()
            total += (logsumexp(scores) - target) / 2
        right += all(own[logits[row, own, end].argmax()] == place for end, place in enumerate(ends))
    terms = objective.loss(outputs, batch)
    assert term(terms, "span") == (pytest.approx(total, rel=1e-5), len(items), 1.0)
    assert term(terms, "accuracy") == (right, len(items), 0.0)
    gradient = jax.grad(lambda x: objective.loss(Outputs(heads={"span": x}), batch)["span"].sum)
    gradient = np.asarray(gradient(outputs.heads["span"]))
    assert np.isfinite(gradient).all() and (gradient[segments == 0] == 0).all()


def test_choices_that_an_example_has_not_are_not_chosen(build):
    objective = build("supervised", task__kind="choice", objective__z_loss=1e-4)
    scores = np.array([[0.5, 2.0, 9.0], [1.0, 0.0, -1.0], [3.0, 3.0, 3.0]])
    batch = {
        "labels": jnp.array([1, 2, 0]), "label_weights": jnp.array([1.0, 1.0, 0.0]),
        "choice_weights": jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]),
    }  # fmt: skip
    terms = objective.loss(Outputs(heads={"choice": jnp.array(scores)}), batch)
    parts = [(logsumexp(scores[0, :2]), 2.0), (logsumexp(scores[1]), -1.0)]
    expected = sum(log_z - target + 1e-4 * log_z**2 for log_z, target in parts)
    assert term(terms, "choice") == (pytest.approx(expected, rel=1e-5), 2, 1.0)
    assert term(terms, "accuracy") == (1, 2, 0.0)


CLS, SEP, EOS, BOS = 2, 3, 5, 7
FRAMES = [  # family, architecture, what differs of the tokenizer, start, separator, end, pool
    ("bert", "encoder", {}, (CLS,), (SEP,), (SEP,), "first"),
    ("roberta", "encoder", {}, (CLS,), (SEP, SEP), (SEP,), "first"),
    ("xlnet", "encoder", {}, (), (SEP,), (SEP, CLS), "last"),
    ("gpt2", "decoder", dict(cls=None, sep=None, pad=None, bos=EOS), (), (EOS,), (EOS,), "last"),
    ("llama", "decoder", dict(cls=None, sep=None, pad=None, bos=BOS), (BOS,), (EOS,), (EOS,), "last"),
    ("lstm", "recurrent", {}, (), (EOS,), (EOS,), "last"),
    ("elmo", "bidirectional_recurrent", dict(eos=None), (), (SEP,), (SEP,), "max"),
    ("bart", "encoder_decoder", {}, (CLS,), (EOS, EOS), (EOS,), "last"),
    ("t5", "encoder_decoder", {}, (), (EOS,), (EOS,), "last"),
]


@pytest.mark.parametrize("family, architecture, missing, start, separator, end, pool", FRAMES)
def test_texts_stand_between_the_tokens_of_pretraining(
    build, tables, family, architecture, missing, start, separator, end, pool
):
    made = build(
        "supervised", tables=tables(**missing), data__sequence_length=LENGTH, model__family=family,
        model={"architecture": architecture, "pooling": pool},
    )  # fmt: skip
    layout = made.rows.layout
    assert (layout.start, layout.separator, layout.end) == (start, separator, end) and made.outputs == ("class",)
    assert layout.pool == ("all" if pool == "max" else pool)
    assert layout.decoder_start == {"bart": EOS}.get(family, 0)
    assert (made.rows.kind, made.rows.length) == ("examples", LENGTH)


@pytest.mark.parametrize("options, expected", [
    (dict(), "pack"),
    (dict(task__batching="buckets"), "buckets"),
    (dict(task__batching="pad"), "pad"),
    (dict(model=DECODER), "pack"),
    (dict(model=DECODER, task__both_orders=True), "buckets"),
    (dict(task__kind="choice"), "buckets"),
    (dict(model={"pooling": "mean"}), "buckets"),
    (dict(model={"architecture": "encoder_decoder", "pooling": "last"}), "buckets"),
    (dict(model={"architecture": "recurrent", "pooling": "last"}), "buckets"),
    (dict(model={"prompt_length": 4}), "buckets"),
    (dict(finetune__dp_clip_norm=1.0, finetune__dp_noise_multiplier=1.0), "buckets"),
])  # fmt: skip
def test_rows_are_packed_where_that_goes(build, options, expected):
    assert build("supervised", **options).rows.batching == expected


def test_markers_follow_the_vocabulary(build):
    made = build("supervised", task__markers=True, task__both_orders=True, model=DECODER | {"vocab_size": 43})
    layout = made.rows.layout
    assert (layout.start, layout.separator, layout.end) == ((40,), (41,), (42,)) and layout.both_orders


@pytest.mark.parametrize("options, message", [
    (dict(objective__lm_weight=0.5), "reads from left to right.*objective.lm_weight=0"),
    (dict(objective__lm_weight=-1.0), "must be at least 0"),
    (dict(objective__z_loss=-1.0), "objective.z_loss"),
    (dict(data__sequence_length=2), "at least 3"),
    (dict(data__packing="documents"), "data.packing=documents does not go with .*leave it at windows"),
    (dict(data__validation_source="text:a.txt"), "data.validation_source=text:a.txt does not go with .*leave it at ''"),
    (dict(data__sequence_length=513), "model.max_positions=513"),
    (dict(model={"num_labels": 1}), "model.num_labels=1 must be at least 2"),
    (dict(task__kind="regression"), "model.num_labels=3 must be 1"),
    (dict(task__kind="regression", model={"num_labels": 1}, objective__label_smoothing=0.1), "task.kind=regression"),
    (dict(task__kind="text", task__name="summary"), "task.kind='text': .*one of class.*objective.name=responses"),
    (dict(task__kind=""), "set task.name to a task"),
    (dict(task__kind="tag", model={"architecture": "recurrent"}), "needs a transformer"),
    (dict(model={"architecture": "decoder"}), "model.pooling=first.*set it to last"),
    (dict(task__kind="span", model={"architecture": "decoder"}), "model.pooling=first.*set it to last"),
    (dict(task__kind="tag", task__both_orders=True), "task.both_orders is for pairs"),
    (dict(task__markers=True), "task.markers are for classifiers that read from left to right"),
    (dict(task__markers=True, model=DECODER), "set model.vocab_size=43"),
    (dict(task__kind="choice", task__batching="pack"), "task.kind=choice: set task.batching=buckets"),
    (dict(task__batching="pack", task__both_orders=True), "task.both_orders: set"),
    (dict(task__batching="pack", model={"pooling": "mean"}), "model.pooling=max or mean: set"),
    (dict(task__batching="pack", model={"architecture": "encoder_decoder", "pooling": "last"}), "an encoder-decoder"),
    (dict(task__batching="pack", task__kind="tag", model={"prompt_length": 4}), "a prompt .*task.batching=buckets"),
    (dict(model={"architecture": "word_vectors"}), "trains models of architecture encoder or decoder"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("supervised", **options)


def test_special_tokens_are_needed(build, tables):
    with pytest.raises(ConfigError, match="special token cls, .*wordpiece"):
        build("supervised", tables=tables(cls=None))
    with pytest.raises(ConfigError, match="special token eos"):
        build("supervised", tables=tables(eos=None, sep=None), model=DECODER)
