"""A row has one label; a language model's loss may stand beside it."""

import types

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from errors import ConfigError

LENGTH, LABELS = 8, 3
DECODER = {"architecture": "decoder"}


@pytest.fixture(scope="module")
def objective(build):
    return build("classification", data__sequence_length=LENGTH, objective__lm_weight=0.5, model=DECODER)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def rows(sizes):
    tokens = np.arange(len(sizes) * LENGTH, dtype=np.int32).reshape(-1, LENGTH) % 26 + 6
    segments = (np.arange(LENGTH) < np.array(sizes)[:, None]).astype(np.int32)
    labels = np.arange(len(sizes), dtype=np.int32) % LABELS
    return {"tokens": tokens, "segments": segments, "labels": labels, "row": np.arange(len(sizes))}


@hypothesis.given(sizes=st.lists(st.integers(0, LENGTH), min_size=4, max_size=4))
@hypothesis.example(sizes=[0, 1, 2, LENGTH])
@hypothesis.settings(deadline=None, max_examples=20)
def test_text_and_labels_stay_and_padding_is_not_predicted(corrupt, sizes):
    given = rows(sizes)
    batch = corrupt(jax.random.key(0), given)
    for name in ("tokens", "segments", "labels"):
        np.testing.assert_array_equal(batch[name], given[name])
    np.testing.assert_array_equal(batch["label_weights"], np.ones(4))
    for b, size in enumerate(sizes):
        assert batch["target_weights"][b].tolist() == [float(t + 1 < size) for t in range(LENGTH)]
        np.testing.assert_array_equal(batch["targets"][b, : LENGTH - 1], given["tokens"][b, 1:])


def test_loss_is_that_of_labels_and_a_share_of_that_of_tokens(objective):
    batch = objective.corrupt(jax.random.key(0), rows([3, 8, 5]))
    rng = np.random.default_rng(0)
    scores, logits = rng.normal(size=(3, LABELS)), rng.normal(size=(3, LENGTH, 40))
    outputs = types.SimpleNamespace(
        class_logits=jnp.asarray(scores, jnp.float32), logits=jnp.asarray(logits, jnp.float32)
    )
    terms = objective.loss(outputs, batch)
    labels = lm = right = 0.0
    for b, size in enumerate((3, 8, 5)):
        labels += np.log(np.exp(scores[b]).sum()) - scores[b, b]
        right += scores[b].argmax() == b
        for t in range(size - 1):
            lm += np.log(np.exp(logits[b, t]).sum()) - logits[b, t, batch["tokens"][b, t + 1]]
    np.testing.assert_allclose(
        [terms["class"].sum, terms["lm"].sum, terms["accuracy"].sum], [labels, lm, right], rtol=1e-5
    )
    assert (terms["class"].weight, terms["lm"].weight) == (3, 2 + 7 + 4)
    coefficients = {name: term.coefficient for name, term in terms.items()}
    assert coefficients == {"class": 1.0, "accuracy": 0.0, "lm": 0.5, "lm_accuracy": 0.0}


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "recurrent", "bidirectional_recurrent"])
def test_frames_are_those_of_the_tokenizer(build, tables, architecture):
    made = build("classification", data__sequence_length=LENGTH, model={"architecture": architecture})
    assert (made.rows.kind, made.rows.start, made.rows.end, made.outputs) == ("examples", (2,), (3,), ("class",))
    if architecture != "encoder":
        made = build(
            "classification", tables=tables(cls=None, sep=None, pad=None), model={"architecture": architecture}
        )
        assert (made.rows.start, made.rows.end, made.rows.pad) == ((), (5,), 0)


@pytest.mark.parametrize("options, message", [
    (dict(objective__lm_weight=0.5), "reads from left to right.*objective.lm_weight=0"),
    (dict(objective__lm_weight=0.5, model={"architecture": "bidirectional_recurrent"}), "objective.lm_weight=0"),
    (dict(objective__lm_weight=-1.0), "must be 0 or more"),
    (dict(objective__z_loss=-1.0), "objective.z_loss"),
    (dict(data__sequence_length=2), "at least 3"),
    (dict(data__packing="documents"), "data.packing=documents does not go with .*leave it at 'windows'"),
    (dict(data__validation_source="text:a.txt"), "data.validation_source=text:a.txt does not go with .*leave it at ''"),
    (dict(objective__pairs="next_sentence"), "objective.pairs=next_sentence does not go with .*leave it at 'none'"),
    (dict(data__sequence_length=513), "model.max_positions=513"),
    (dict(model={"num_labels": 1}), "model.num_labels=1 must be at least 2"),
    (dict(model={"architecture": "encoder_decoder"}), "trains models of architecture encoder or decoder"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("classification", **options)


def test_encoders_need_their_special_tokens(build, tables):
    with pytest.raises(ConfigError, match="special token cls, .*wordpiece"):
        build("classification", tables=tables(cls=None))
