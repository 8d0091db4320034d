"""What answers are laid out for, and the loss of their tokens; the rows themselves are tested with the data."""

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models.outputs import Outputs

CLS, EOS = 2, 5
DECODER = {"architecture": "decoder"}


@pytest.mark.parametrize("prefix", ["full", "causal"])
def test_a_decoder_reads_prompt_and_response_as_one(build, prefix):
    made = build("responses", data__sequence_length=9, objective__prefix=prefix, model=DECODER)
    layout = made.rows.layout
    assert (layout.kind, layout.separator, layout.end) == ("text", (EOS,), (EOS,)) and made.outputs == ("lm",)
    assert layout.full_prefix == (prefix == "full") and not layout.loss_on_inputs and layout.target_length == 0
    short = build("responses", data__target_length=4, objective__prefix=prefix, model=DECODER).rows.layout
    assert short.target_length == 4  # an answer has no more, though it is of the same row


def test_an_encoder_decoder_writes_what_its_family_wrote_in_pretraining(build):
    bart = build("responses", data__sequence_length=9, model__family="bart").rows.layout
    assert (bart.decoder_start, bart.target_start, bart.target_length) == (EOS, (CLS,), 8)
    t5 = build("responses", data__target_length=6, model__family="t5").rows.layout
    assert (t5.decoder_start, t5.target_start, t5.target_length) == (0, (), 6)


def test_only_responses_are_scored(build):
    objective = build("responses", objective__label_smoothing=0.1, objective__z_loss=1e-3)
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 5, 40)), rng.integers(0, 40, (2, 5))
    weights = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]])
    batch = {"targets": jnp.array(targets), "target_weights": jnp.array(weights, jnp.float32)}
    terms = objective.loss(Outputs(heads={"lm": jnp.array(logits)}), batch)
    expected = 0.0
    for b, t in np.argwhere(weights):
        log_z = np.log(np.exp(logits[b, t]).sum())
        expected += log_z - 0.9 * logits[b, t, targets[b, t]] - 0.1 * logits[b, t].mean() + 1e-3 * log_z**2
    assert float(terms["loss"].sum) == pytest.approx(expected, rel=1e-5) and terms["loss"].weight == 3
    plain = objective.for_validation().loss(Outputs(heads={"lm": jnp.array(logits)}), batch)
    assert plain["loss"].sum != terms["loss"].sum


@pytest.mark.parametrize("options, message", [
    (dict(task__kind="class", task__name="package"), "does not learn task.kind='class'.*objective.name=supervised"),
    (dict(model=DECODER, objective__loss_on_inputs=True), "needs objective.prefix=causal"),
    (dict(model=DECODER, objective__prefix="none"), "objective.prefix='none' is not one of"),
    (dict(model=DECODER, data__target_length=1), "data.target_length=1 is too short.*at least 2"),
    (dict(data__target_length=2, model__family="bart"), "data.target_length=2 is too short.*at least 3"),
    (dict(data__target_length=600), "data.target_length makes rows of 600"),
    (dict(model=DECODER, task__markers=True), "set task.markers=False"),
    (dict(task__batching="pack"), "an encoder-decoder"),
    (dict(task__both_orders=True), "task.both_orders"),
])  # fmt: skip
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("responses", **options)
