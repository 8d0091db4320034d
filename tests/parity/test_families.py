"""BERT, GPT-2 and T5 against the PyTorch classes of transformers, with random weights, on CPU.

Parameters are drawn from N(0, 0.08): default initialisation would hide swapped norms and biases. Run by
`make parity`, which installs torch and transformers.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import models
from models import names
from tests.parity import references

SIZES = [dict(width=48, heads=4, ffn=96, layers=3), dict(width=40, heads=5, ffn=56, layers=2)]
DIFFERENCES = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    print(f"\n{'class':<45}{'shape':<55}largest difference")
    for (name, shape), difference in DIFFERENCES.items():
        print(f"{name:<45}{shape:<55}{difference:.1e}")


def check(name, size, ours, theirs):
    theirs = theirs.detach().numpy()
    difference = float(np.abs(np.asarray(ours) - theirs).max())
    DIFFERENCES[name, str(size)] = max(difference, DIFFERENCES.get((name, str(size)), 0.0))
    assert difference <= 1e-4 * max(1.0, float(np.abs(theirs).max()))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bert(size):
    config, _, params, batch, expected = references.bert(size)
    got = models.Transformer(config).apply({"params": params}, batch, collect=True)
    seen = batch["segments"].astype(bool)
    check("BertForPreTraining", size, np.asarray(got.logits)[seen], expected.prediction_logits[torch.tensor(seen)])
    check("BertForPreTraining, next sentence", size, got.nsp_logits, expected.seq_relationship_logits)
    for ours, theirs in zip(got.hidden_states, expected.hidden_states, strict=True):
        check("BertForPreTraining, hidden states", size, np.asarray(ours)[seen], theirs[torch.tensor(seen)])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gpt2_with_gradients(size):
    config, reference, params, batch, expected = references.gpt2(size)
    expected.loss.backward()
    model = models.Transformer(config)
    check("GPT2LMHeadModel", size, model.apply({"params": params}, batch).logits, expected.logits)

    def loss(params):
        log_probs = jax.nn.log_softmax(model.apply({"params": params}, batch).logits[:, :-1])
        return -jnp.take_along_axis(log_probs, batch["tokens"][:, 1:, None], axis=-1).mean()

    for parameter in reference.parameters():
        parameter.data = parameter.grad
    expected_grads = names.flatten(references.gpt2_parameters(config, reference))
    got = names.flatten(jax.grad(loss)(params))
    for name, grad in expected_grads.items():
        np.testing.assert_allclose(got[name], grad, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("preset", ["small", "v1_1_small"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_t5(size, preset):
    config, _, params, batch, expected = references.t5(size, preset)
    got = models.Transformer(config).apply({"params": params}, batch, collect=True)
    name = f"T5ForConditionalGeneration, {preset}"
    check(name, size, got.logits, expected.logits)
    # The reference's last hidden state has been through the final norm.
    for ours, theirs in zip(got.hidden_states[:-1], expected.decoder_hidden_states[:-1], strict=True):
        check(f"{name}, decoder", size, ours, theirs)
    check(f"{name}, decoder", size, got.hidden, expected.decoder_hidden_states[-1])
    seen = batch["segments"].astype(bool)
    theirs = expected.encoder_last_hidden_state[torch.tensor(seen)]
    check(f"{name}, encoder", size, np.asarray(got.encoder_hidden)[seen], theirs)


def test_long_relative_positions():
    """Buckets far beyond those of short rows, in both directions, agree with the reference's f32 arithmetic."""
    from transformers.models.t5.modeling_t5 import T5Attention

    from models.positions import relative_bucket

    distance = np.arange(-3000, 3001)
    for bidirectional in (True, False):
        expected = T5Attention._relative_position_bucket(torch.tensor(distance), bidirectional, 32, 128).numpy()
        got = relative_bucket(jnp.asarray(distance), bidirectional=bidirectional, buckets=32, max_distance=128)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("backend", ["einsum", "xla"])
def test_backends_agree_with_the_reference_too(backend):
    config, _, params, batch, expected = references.gpt2(SIZES[0])
    config = dataclasses.replace(config, attention_backend=backend, attention_dropout=0.0)
    got = models.Transformer(config).apply({"params": params}, batch)
    check(f"GPT2LMHeadModel, {backend} backend", SIZES[0], got.logits, expected.logits)
