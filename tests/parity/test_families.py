"""BERT, GPT-2 and T5 against the PyTorch classes of transformers, with random weights, on CPU.

Parameters are drawn from N(0, 0.08): default initialisation would hide swapped norms and biases. Run by
`make parity`, which installs torch and transformers.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import names

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = [dict(width=48, heads=4, ffn=96, layers=3), dict(width=40, heads=5, ffn=56, layers=2)]
BATCH, LENGTH, TARGET = 3, 13, 7
DIFFERENCES = []


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    print("\nclass                               shape                                       largest difference")
    for name, shape, difference in DIFFERENCES:
        print(f"{name:<35} {shape:<43} {difference:.1e}")


def randomise(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return module.eval()


def array(tensor):
    return tensor.detach().numpy()


def put(flat, name, value):
    flat[name] = jnp.asarray(value)


def linear(flat, name, module, transpose=True):
    put(flat, f"{name}/kernel", array(module.weight).T if transpose else array(module.weight))
    if getattr(module, "bias", None) is not None:
        put(flat, f"{name}/bias", array(module.bias))


def norm(flat, name, module):
    put(flat, f"{name}/scale", array(module.weight))
    if getattr(module, "bias", None) is not None:
        put(flat, f"{name}/bias", array(module.bias))


def stack_layers(flat, prefix, layers):
    for key in layers[0]:
        flat[f"{prefix}/layers/{key}"] = jnp.stack([layer[key] for layer in layers])


def pad_vocab(config, table):
    return np.pad(table, [(0, config.padded_vocab - len(table))] + [(0, 0)] * (table.ndim - 1))


def bert_parameters(config, reference):
    flat, body = {}, reference.bert
    put(flat, "token/embedding", pad_vocab(config, array(body.embeddings.word_embeddings.weight)))
    put(flat, "encoder_embeddings/position/embedding", array(body.embeddings.position_embeddings.weight))
    put(flat, "encoder_embeddings/token_type/embedding", array(body.embeddings.token_type_embeddings.weight))
    norm(flat, "encoder_embeddings/norm", body.embeddings.LayerNorm)
    layers = []
    for layer in body.encoder.layer:
        one = {}
        for name in ("query", "key", "value"):
            linear(one, f"attention/{name}", getattr(layer.attention.self, name))
        linear(one, "attention/output", layer.attention.output.dense)
        norm(one, "attention_norm", layer.attention.output.LayerNorm)
        linear(one, "ffn/up", layer.intermediate.dense)
        linear(one, "ffn/down", layer.output.dense)
        norm(one, "ffn_norm", layer.output.LayerNorm)
        layers.append(one)
    stack_layers(flat, "encoder", layers)
    linear(flat, "pooler/dense", body.pooler.dense)
    linear(flat, "nsp_head", reference.cls.seq_relationship)
    head = reference.cls.predictions
    linear(flat, "mlm_head/dense", head.transform.dense)
    norm(flat, "mlm_head/norm", head.transform.LayerNorm)
    put(flat, "mlm_head/bias", pad_vocab(config, array(head.bias)))
    return names.unflatten(flat)


def gpt2_parameters(config, reference):
    flat, body = {}, reference.transformer
    put(flat, "token/embedding", pad_vocab(config, array(body.wte.weight)))
    put(flat, "decoder_embeddings/position/embedding", array(body.wpe.weight))
    layers = []
    for block in body.h:
        one = {}
        norm(one, "attention_norm", block.ln_1)
        weights, biases = np.split(array(block.attn.c_attn.weight), 3, 1), np.split(array(block.attn.c_attn.bias), 3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            put(one, f"attention/{name}/kernel", weight)
            put(one, f"attention/{name}/bias", bias)
        linear(one, "attention/output", block.attn.c_proj, transpose=False)
        norm(one, "ffn_norm", block.ln_2)
        linear(one, "ffn/up", block.mlp.c_fc, transpose=False)
        linear(one, "ffn/down", block.mlp.c_proj, transpose=False)
        layers.append(one)
    stack_layers(flat, "decoder", layers)
    norm(flat, "decoder/final_norm", body.ln_f)
    return names.unflatten(flat)


def t5_parameters(config, reference):
    flat = {}
    put(flat, "token/embedding", pad_vocab(config, array(reference.shared.weight)))
    for side in ("encoder", "decoder"):
        body = getattr(reference, side)
        bias = body.block[0].layer[0].SelfAttention.relative_attention_bias
        put(flat, f"{side}_relative_bias/embedding", array(bias.weight))
        layers = []
        for block in body.block:
            one = {}
            parts = [("attention", block.layer[0], "SelfAttention")]
            if side == "decoder":
                parts.append(("cross_attention", block.layer[1], "EncDecAttention"))
            for name, layer, attribute in parts:
                norm(one, f"{name}_norm", layer.layer_norm)
                for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
                    linear(one, f"{name}/{ours}", getattr(getattr(layer, attribute), theirs))
            norm(one, "ffn_norm", block.layer[-1].layer_norm)
            dense = block.layer[-1].DenseReluDense
            if config.gated:
                linear(one, "ffn/gate", dense.wi_0)
                linear(one, "ffn/up", dense.wi_1)
            else:
                linear(one, "ffn/up", dense.wi)
            linear(one, "ffn/down", dense.wo)
            layers.append(one)
        stack_layers(flat, side, layers)
        norm(flat, f"{side}/final_norm", body.final_layer_norm)
    if not config.tie_embeddings:
        put(flat, "lm_head/kernel", pad_vocab(config, array(reference.lm_head.weight)).T)
    return names.unflatten(flat)


def check(name, size, ours, theirs):
    difference = float(np.abs(np.asarray(ours) - array(theirs)).max())
    DIFFERENCES.append((name, str(size), difference))
    assert difference <= 1e-4 * max(1.0, float(theirs.detach().abs().max()))


def tokens(length, vocab=97, seed=0):
    return np.random.default_rng(seed).integers(5, vocab, (BATCH, length)).astype(np.int32)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bert(size):
    config = models.resolve(dict(family="bert", preset="base", vocab_size=97, max_positions=32, **size))
    reference = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=97, hidden_size=config.width, num_hidden_layers=config.layers, max_position_embeddings=32,
            num_attention_heads=config.heads, intermediate_size=config.ffn, attn_implementation="eager",
        )
    )  # fmt: skip
    randomise(reference)
    ids = tokens(LENGTH)
    real = np.ones_like(ids)
    real[1, 9:], real[2, 4:] = 0, 0
    types = np.tile((np.arange(LENGTH) > 5).astype(np.int32), (BATCH, 1))
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(real).long(),
            token_type_ids=torch.tensor(types).long(),
            output_hidden_states=True,
        )
    batch = dict(tokens=ids, segments=real, token_types=types)
    params = {"params": bert_parameters(config, reference)}
    got = models.Transformer(config).apply(params, batch, collect=True)
    seen = real.astype(bool)
    check("BertForPreTraining", size, np.asarray(got.logits)[seen], expected.prediction_logits[torch.tensor(seen)])
    check("  next sentence", size, got.nsp_logits, expected.seq_relationship_logits)
    for ours, theirs in zip(got.hidden_states, expected.hidden_states, strict=True):
        check("  hidden state", size, np.asarray(ours)[seen], theirs[torch.tensor(seen)])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gpt2_with_gradients(size):
    config = models.resolve(dict(family="gpt2", preset="small", vocab_size=97, max_positions=32, **size))
    reference = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=97, n_embd=config.width, n_layer=config.layers, n_head=config.heads, n_inner=config.ffn,
            n_positions=32, attn_implementation="eager",
        )
    )  # fmt: skip
    randomise(reference)
    ids = tokens(LENGTH)
    expected = reference(input_ids=torch.tensor(ids).long(), labels=torch.tensor(ids).long())
    expected.loss.backward()
    params = gpt2_parameters(config, reference)
    model = models.Transformer(config)
    check("GPT2LMHeadModel", size, model.apply({"params": params}, dict(tokens=ids)).logits, expected.logits)

    def loss(params):
        log_probs = jax.nn.log_softmax(model.apply({"params": params}, dict(tokens=ids)).logits[:, :-1])
        return -jnp.take_along_axis(log_probs, ids[:, 1:, None], axis=-1).mean()

    for parameter in reference.parameters():
        parameter.data = parameter.grad
    expected_grads = names.flatten(gpt2_parameters(config, reference))
    got = names.flatten(jax.grad(loss)(params))
    for name, grad in expected_grads.items():
        np.testing.assert_allclose(got[name], grad, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("preset", ["small", "v1_1_small"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_t5(size, preset):
    extra = dict(decoder_layers=size["layers"], head_dim=6)  # heads * head_dim is not the width
    config = models.resolve(dict(family="t5", preset=preset, vocab_size=97, **size, **extra))
    reference = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=97, d_model=config.width, d_kv=6, d_ff=config.ffn, num_layers=config.layers,
            num_heads=config.heads, feed_forward_proj="gated-gelu" if config.gated else "relu",
            scale_decoder_outputs=config.scale_tied_logits, tie_word_embeddings=config.tie_embeddings,
        )
    )  # fmt: skip
    if not config.tie_embeddings:  # this release always ties; 1.1 does not
        reference.lm_head.weight = torch.nn.Parameter(torch.empty(97, config.width))
    randomise(reference)
    ids, targets = tokens(LENGTH), tokens(TARGET, seed=1)
    real = np.ones_like(ids)
    real[1, 9:], real[2, 4:] = 0, 0
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(real).long(),
            decoder_input_ids=torch.tensor(targets).long(),
            output_hidden_states=True,
        )
    batch = dict(tokens=ids, segments=real, decoder_tokens=targets)
    params = {"params": t5_parameters(config, reference)}
    got = models.Transformer(config).apply(params, batch, collect=True)
    check(f"T5ForConditionalGeneration {preset}", size, got.logits, expected.logits)
    # The reference's last hidden state has been through the final norm.
    for ours, theirs in zip(got.hidden_states[:-1], expected.decoder_hidden_states[:-1], strict=True):
        check("  decoder state", size, ours, theirs)
    check("  decoder output", size, got.hidden, expected.decoder_hidden_states[-1])
    seen = real.astype(bool)
    check(
        "  encoder output", size, np.asarray(got.encoder_hidden)[seen],
        expected.encoder_last_hidden_state[torch.tensor(seen)],
    )  # fmt: skip


def test_long_relative_positions():
    """Buckets far beyond those of short rows, in both directions, agree with the reference's f32 arithmetic."""
    from transformers.models.t5.modeling_t5 import T5Attention

    from models.positions import relative_bucket

    distance = np.arange(-3000, 3001)
    for bidirectional in (True, False):
        expected = T5Attention._relative_position_bucket(torch.tensor(distance), bidirectional, 32, 128).numpy()
        got = relative_bucket(jnp.asarray(distance), bidirectional=bidirectional, buckets=32, max_distance=128)
        np.testing.assert_array_equal(got, expected)


def test_backends_agree_with_the_reference_too():
    config = models.resolve(
        dict(family="gpt2", preset="small", vocab_size=97, max_positions=32, attention_dropout=0.0, **SIZES[0])
    )
    reference = randomise(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_inner=96, n_positions=32)
        )
    )
    ids = tokens(LENGTH)
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(ids).long()).logits
    params = {"params": gpt2_parameters(config, reference)}
    for backend in ("einsum", "xla"):
        model = models.Transformer(dataclasses.replace(config, attention_backend=backend))
        check(f"GPT2LMHeadModel, {backend}", SIZES[0], model.apply(params, dict(tokens=ids)).logits, expected)
