"""Who sees whom, and that every way of running the layers computes the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.models import platforms
from tests.faults import CHAOS
from tests.models import tiny

FAMILIES = list(tiny.FAMILIES)


def influence(family, stack):
    """bool [T, S]: whether input embedding s of a stack changes the last hidden state t of the model."""
    data = tiny.batch(family, rows=1)
    model = models.Transformer(tiny.config(family))
    key = "decoder_tokens" if (family, stack) == ("t5", "decoder") else "tokens"
    length = data[key].shape[1]
    # A position's own embedding is perturbed through a vocabulary in which every position has its own token.
    data[key] = np.arange(5, 5 + length, dtype=np.int32)[None]
    other = "decoder_tokens" if key == "tokens" else "tokens"
    if other in data:
        data[other] = np.full_like(data[other], 80)

    def hidden(table):
        params = {**tiny.parameters(family), "token": {"embedding": table}}
        return model.apply({"params": params}, data).hidden[0]

    jacobian = jax.jit(jax.jacobian(lambda table: hidden(table).sum(axis=-1)))(
        tiny.parameters(family)["token"]["embedding"]
    )
    return np.abs(np.asarray(jacobian)[:, 5 : 5 + length]).max(axis=-1) > 1e-9


def test_unrolled_layers_are_traced_once():
    model = models.Transformer(dataclasses.replace(tiny.config("gpt2"), scan=False))
    made = jax.make_jaxpr(lambda params: model.apply({"params": params}, tiny.batch("gpt2")).hidden)
    inner = [e.params["jaxpr"] for e in made(tiny.parameters("gpt2")).jaxpr.eqns if "jaxpr" in e.params]
    layers = [jaxpr for jaxpr in inner if "dot_general" in str(jaxpr)]
    assert len(layers) == model.config.layers > 1
    assert len({id(jaxpr) for jaxpr in layers}) == 1


def test_decoders_are_causal_and_encoders_are_not():
    causal = influence("gpt2", "decoder")
    np.testing.assert_array_equal(causal, np.tril(np.ones_like(causal)))
    causal = influence("t5", "decoder")
    np.testing.assert_array_equal(causal, np.tril(np.ones_like(causal)))
    assert influence("bert", "encoder").all()
    assert influence("t5", "encoder").all()


def test_ranks_give_prefix_and_permuted_visibility():
    data = tiny.batch("gpt2", rows=2)
    base = tiny.apply("gpt2", data).hidden
    length = data["tokens"].shape[1]
    in_order = tiny.apply("gpt2", {**data, "ranks": np.tile(np.arange(length, dtype=np.int32), (2, 1))}).hidden
    np.testing.assert_allclose(in_order, base, atol=1e-5)
    prefix = np.maximum(np.arange(length, dtype=np.int32) - 4, 0)
    ranks = np.tile(prefix, (2, 1))
    before = tiny.apply("gpt2", {**data, "ranks": ranks}).hidden
    changed = {**data, "tokens": data["tokens"].copy(), "ranks": ranks}
    changed["tokens"][:, 4] += 1  # within the prefix: seen from place 0
    after = tiny.apply("gpt2", changed).hidden
    assert (np.abs(after - before)[:, 0] > 1e-6).any()
    changed["tokens"] = data["tokens"].copy()
    changed["tokens"][:, 6] += 1  # after the prefix: seen from its own place on
    after = np.asarray(tiny.apply("gpt2", changed).hidden)
    np.testing.assert_array_equal(after[:, :6], np.asarray(before)[:, :6])
    assert (np.abs(after - before)[:, 6:] > 1e-6).any()


def packed(family, rows=2, length=12):
    data = tiny.batch(family, rows, length)
    for prefix in ("", "decoder_"):
        if prefix + "tokens" in data:
            n = data[prefix + "tokens"].shape[1]
            cut = n // 2
            data[prefix + "segments"] = np.tile(np.where(np.arange(n) < cut, 1, 2).astype(np.int32), (rows, 1))
            data[prefix + "segments"][:, -1] = 0
            data[prefix + "positions"] = np.tile(
                np.where(np.arange(n) < cut, np.arange(n), np.arange(n) - cut), (rows, 1)
            )
            data[prefix + "positions"] = data[prefix + "positions"].astype(np.int32)
    return data


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_documents_do_not_leak(family, backend="xla"):
    """With fused attention; the reference is in test_every_family."""
    data = packed(family)
    before = tiny.apply(family, data, attention_backend=backend)
    changed = {k: v.copy() for k, v in data.items()}
    for prefix in ("", "decoder_"):
        if prefix + "tokens" in changed:
            second = changed[prefix + "segments"] != 1
            changed[prefix + "tokens"][second] = (changed[prefix + "tokens"][second] + 7) % tiny.VOCAB
    after = tiny.apply(family, changed, attention_backend=backend)
    first = data.get("decoder_segments", data["segments"]) == 1
    np.testing.assert_array_equal(np.asarray(after.logits)[first], np.asarray(before.logits)[first])
    assert not np.array_equal(np.asarray(after.logits)[~first], np.asarray(before.logits)[~first])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_document_computes_what_it_computes_alone(family):
    data = packed(family)
    together = tiny.apply(family, data)
    alone = {}
    for prefix in ("", "decoder_"):
        if prefix + "tokens" in data:
            n = (data[prefix + "segments"][0] == 1).sum()
            alone[prefix + "tokens"] = data[prefix + "tokens"][:, :n]
    expected = tiny.apply(family, alone)
    n = expected.logits.shape[1]
    np.testing.assert_allclose(together.logits[:, :n], expected.logits, atol=2e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_backends_agree(family, masked):
    data = packed(family) if masked else tiny.batch(family)
    reference = tiny.apply(family, data, attention_backend="einsum")
    other = tiny.apply(family, data, attention_backend="xla")
    np.testing.assert_allclose(other.logits, reference.logits, atol=2e-5)


def test_grouped_heads_equal_repeated_heads():
    grouped = tiny.parameters("gpt2", kv_heads=2)
    repeated = jax.tree.map(lambda x: x, grouped)
    attention = repeated["decoder"]["layers"]["attention"]
    for name in ("key", "value"):
        kernel, bias = attention[name]["kernel"], attention[name]["bias"]
        attention[name] = {
            "kernel": jnp.repeat(kernel.reshape(3, 32, 2, 8), 2, axis=2).reshape(3, 32, 32),
            "bias": jnp.repeat(bias.reshape(3, 2, 8), 2, axis=1).reshape(3, 32),
        }
    data = tiny.batch("gpt2")
    expected = tiny.apply("gpt2", data, repeated)
    for backend in ("einsum", "xla"):
        got = tiny.apply("gpt2", data, grouped, kv_heads=2, attention_backend=backend)
        np.testing.assert_allclose(got.logits, expected.logits, atol=2e-5)


def loss_and_gradient(family, frozen=None, **changes):
    model = models.Transformer(tiny.config(family, **changes), **(frozen or {}))
    data = tiny.batch(family)

    def loss(params):
        return jnp.square(model.apply({"params": params}, data).logits).mean()

    return jax.jit(jax.value_and_grad(loss))(tiny.parameters(family))


@pytest.mark.parametrize("family", FAMILIES if CHAOS else ["t5"])  # which has both stacks
def test_scanned_equals_unrolled_equals_recomputed(family):
    loss, gradient = loss_and_gradient(family)
    for changes in (dict(remat="full"), dict(scan=False, remat="dots")):
        other_loss, other = loss_and_gradient(family, **changes)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-6)
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6 + 1e-5 * float(jnp.abs(b).max()))


def test_offload_keeps_the_inputs_of_layers_in_the_host_s_memory_where_there_is_another():
    """Of a CPU it is its own: there `offload` recomputes like `full`."""
    data, params = tiny.batch("gpt2"), tiny.parameters("gpt2")

    def traced(remat, devices):
        model = models.Transformer(tiny.config("gpt2", remat=remat, scan=True))
        with platforms.planned_for(devices):
            run = jax.make_jaxpr(jax.grad(lambda p: jnp.square(model.apply({"params": p}, data).logits).mean()))
            return str(run(params))

    layers, width = tiny.config("gpt2").layers, tiny.config("gpt2").width
    shape = ",".join(map(str, (layers, *data["tokens"].shape, width)))
    assert f"f32<host>[{shape}]" in traced("offload", "tpu")
    assert "<host>" not in traced("full", "tpu") and "<host>" not in traced("offload", "cpu")


@pytest.mark.parametrize("family", FAMILIES if CHAOS else ["t5"])
def test_frozen_layers_have_no_gradient_and_change_nothing_else(family):
    stack = "encoder" if family == "bert" else "decoder"
    loss, gradient = loss_and_gradient(family)
    for scan in (True, False):
        other_loss, other = loss_and_gradient(family, frozen={f"frozen_{stack}": 2}, scan=scan)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-6)
        kernel = other[stack]["layers"]["ffn"]["up"]["kernel"]
        assert not np.asarray(kernel[:2]).any()
        np.testing.assert_allclose(kernel[2], gradient[stack]["layers"]["ffn"]["up"]["kernel"][2], rtol=1e-4, atol=1e-6)


def test_collected_states_begin_and_end_where_they_should():
    data = tiny.batch("bert")
    model = models.Transformer(tiny.config("bert"))
    outputs = model.apply({"params": tiny.parameters("bert")}, data, collect=True)
    assert outputs.hidden_states.shape == (4, 4, 12, 32)
    np.testing.assert_array_equal(outputs.hidden_states[-1], outputs.hidden)


def test_scores_only_at_prediction_positions():
    data = tiny.batch("bert")
    everywhere = tiny.apply("bert", data).logits
    positions = np.array([[0, 3], [5, 5], [11, 2], [1, 0]], np.int32)
    some = tiny.apply("bert", {**data, "prediction_positions": positions}).logits
    assert some.shape == (4, 2, tiny.VOCAB)
    expected = np.take_along_axis(np.asarray(everywhere), positions[:, :, None], axis=1)
    np.testing.assert_allclose(some, expected, atol=1e-5)


def test_a_query_that_sees_nothing_gets_nothing():
    data = tiny.batch("t5", rows=1)
    data["segments"] = np.ones_like(data["tokens"])
    data["decoder_segments"] = np.full_like(data["decoder_tokens"], 2)  # matches no key of the encoder
    for backend in ("einsum", "xla"):
        before = tiny.apply("t5", data, attention_backend=backend).logits
        changed = {**data, "tokens": (data["tokens"] + 3) % tiny.VOCAB}
        np.testing.assert_array_equal(tiny.apply("t5", changed, attention_backend=backend).logits, before)


def test_padding_of_the_vocabulary_stays_outside():
    config = tiny.config("gpt2")
    assert (config.vocab_size, config.padded_vocab) == (97, 104)
    outputs = tiny.apply("gpt2", tiny.batch("gpt2"))
    assert outputs.logits.shape[-1] == 97


def test_bfloat16_stays_close_to_float32():
    for family in FAMILIES:
        data = tiny.batch(family)
        exact = np.asarray(tiny.apply(family, data).logits)
        rounded = np.asarray(tiny.apply(family, data, dtype="bfloat16").logits)
        assert rounded.dtype == np.float32
        assert np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


def test_rotary_and_sinusoidal_positions_matter_and_rotary_is_relative():
    data = tiny.batch("gpt2", rows=1)
    positions = np.arange(12, dtype=np.int32)[None]
    for kind in ("rotary", "sinusoidal"):
        params = tiny.parameters("gpt2", positions=kind)
        at = lambda p, params=params, kind=kind: np.asarray(  # noqa: E731
            tiny.apply("gpt2", {**data, "positions": p}, params, positions=kind).logits
        )
        assert np.abs(at(positions) - at(positions[:, ::-1].copy())).max() > 1e-3
        shift = np.abs(at(positions) - at(positions + 5)).max()
        assert shift < 1e-4 if kind == "rotary" else shift > 1e-3


@pytest.mark.parametrize(
    "changes, word",
    [
        (dict(heads=5), "heads"),
        (dict(kv_heads=3), "kv_heads"),
        (dict(activation="swish"), "activation"),
        (dict(dropout=1.5), "dropout"),
        (dict(preset="bse"), "did you mean 'base'"),
        (dict(family="brt"), "did you mean 'bert'"),
        (dict(attention_backend="xla", attention_dropout=0.1), "xla has no attention dropout"),
        (dict(architecture="encoder_decoder"), "decoder_layers"),
        (dict(heads_out=("mlm", "clas")), "unknown model.heads_out='clas'; did you mean 'class'"),
        (dict(attention_bias="qx"), "letters out of qkvo"),
        (dict(positions="rotary", rope_scaling=(8.0, 1.0)), "rope_scaling"),
        (dict(positions="disentangled"), "relative_span"),
        (dict(enhanced_decoder=2), "enhanced_decoder=2 needs model.positions=disentangled"),
        (dict(num_labels=0), "num_labels"),
        (dict(window=-1), "window=-1 must be at least 0"),
        (dict(heads_out=("lm", "mlm")), "cannot stand together"),
        (dict(embedding_width=16, heads_out=("lm",)), "embedding_width=16 must be model.width"),
        (dict(positions="sinusoidal", width=33, head_dim=8), "even model.width"),
        (dict(pooling="middle"), "first, last, max, mean"),
    ],
)
def test_bad_settings_are_named(changes, word):
    with pytest.raises(ConfigError, match=word):
        models.resolve({**tiny.FAMILIES["bert"], "preset": "base", **changes})
