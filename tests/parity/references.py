"""The PyTorch classes of transformers with random weights, and the same weights in our names."""

import jax.numpy as jnp
import numpy as np
import torch
import transformers

import models
from models import names

BATCH, LENGTH, TARGET, VOCAB = 3, 13, 7, 97


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


def tokens(length, seed=0):
    return np.random.default_rng(seed).integers(5, VOCAB, (BATCH, length)).astype(np.int32)


def padded(ids):
    """1 for real tokens: rows of different lengths."""
    real = np.ones_like(ids)
    real[1, 9:], real[2, 4:] = 0, 0
    return real


def bert(size):
    """(config, reference module, parameters, batch, what the reference gives)."""
    config = models.resolve(dict(family="bert", preset="base", vocab_size=VOCAB, max_positions=32, **size))
    reference = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=VOCAB, hidden_size=config.width, num_hidden_layers=config.layers, max_position_embeddings=32,
            num_attention_heads=config.heads, intermediate_size=config.ffn, attn_implementation="eager",
        )
    )  # fmt: skip
    randomise(reference)
    ids = tokens(LENGTH)
    types = np.tile((np.arange(LENGTH) > 5).astype(np.int32), (BATCH, 1))
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(padded(ids)).long(),
            token_type_ids=torch.tensor(types).long(),
            output_hidden_states=True,
        )
    batch = dict(tokens=ids, segments=padded(ids), token_types=types)
    return config, reference, bert_parameters(config, reference), batch, expected


def gpt2(size):
    """As `bert`; the reference has a loss whose gradient can be taken."""
    config = models.resolve(dict(family="gpt2", preset="small", vocab_size=VOCAB, max_positions=32, **size))
    reference = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCAB, n_embd=config.width, n_layer=config.layers, n_head=config.heads, n_inner=config.ffn,
            n_positions=32, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
        )
    )  # fmt: skip
    randomise(reference)
    ids = tokens(LENGTH)
    expected = reference(input_ids=torch.tensor(ids).long(), labels=torch.tensor(ids).long())
    return config, reference, gpt2_parameters(config, reference), dict(tokens=ids), expected


def t5(size, preset="small"):
    """As `bert`; heads * head_dim is not the width."""
    extra = dict(decoder_layers=size["layers"], head_dim=6)
    config = models.resolve(dict(family="t5", preset=preset, vocab_size=VOCAB, **size, **extra))
    reference = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCAB, d_model=config.width, d_kv=6, d_ff=config.ffn, num_layers=config.layers,
            num_heads=config.heads, feed_forward_proj="gated-gelu" if config.gated else "relu",
            scale_decoder_outputs=config.scale_tied_logits, tie_word_embeddings=config.tie_embeddings,
        )
    )  # fmt: skip
    if not config.tie_embeddings:  # this release always ties; 1.1 does not
        reference.lm_head.weight = torch.nn.Parameter(torch.empty(VOCAB, config.width))
    randomise(reference)
    ids, targets = tokens(LENGTH), tokens(TARGET, seed=1)
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(padded(ids)).long(),
            decoder_input_ids=torch.tensor(targets).long(),
            output_hidden_states=True,
        )
    batch = dict(tokens=ids, segments=padded(ids), decoder_tokens=targets)
    return config, reference, t5_parameters(config, reference), batch, expected
