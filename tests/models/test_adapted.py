"""Small new parts begin at the base model, compute what their papers say, and merge into an ordinary model."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze import models
from cloze.configs.base import check, get_base
from cloze.errors import ConfigError
from cloze.models import names, recurrent
from cloze.models.adapted import Adapted
from cloze.models.heads import label_pattern
from cloze.models.inputs import Visibility
from cloze.models.layers import Attention
from cloze.models.low_rank import Lora
from cloze.models.positions import SCHEMES
from cloze.parallel import mesh as meshes
from cloze.training import methods
from cloze.training.methods.p_tuning import PromptNetwork
from cloze.training.methods.prefix import PrefixNetwork
from cloze.training.methods.prompt import prompt_from_vocabulary
from cloze.training.trainable import Split
from tests.models import tiny

FAMILIES = list(tiny.FAMILIES)
METHODS = ("lora", "adapters", "prefix", "prompt", "p_tuning")
TARGETS = (
    (r".*/layers/1/.*", False),
    (r".*/(attention|cross_attention)/(query|value)/kernel", True),
    (r".*/ffn/up/kernel", True),
    (r".*", False),
)
SIZES = dict(
    lora_rank=2, lora_alpha=6.0, lora_targets=TARGETS, adapter_size=5, prefix_length=3, prefix_hidden=6,
    prompt_length=4, prompt_hidden=6,
)  # fmt: skip


def method_of(method, **changes):
    """The method with SIZES, as far as they are its options, and changes."""
    config = get_base()
    config.finetune.method = method
    config.finetune.update({k: value for k, value in SIZES.items() if k in config.finetune} | changes)
    check(config)
    methods.check(config)
    return methods.of(config)


def drawn(model, seed=0):
    """{name: numbers from N(0, 0.2)}; nothing is compiled for them."""
    rng = np.random.default_rng(seed)
    shapes = models.parameters(model).shapes
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


@functools.cache
def make(family, method, **changes):
    """(the adapted model, or the model with parts inside; its stored parameters)."""
    model = with_parts(tiny.config(family), method_of(method, **changes))
    return model, drawn(model)


def with_parts(config, method):
    config = method.model_config(config)
    parts = method.parts(config)
    return Adapted(models.build(config), parts) if parts else models.build(config)


def run(model, flat, data):
    return jax.jit(lambda p, b: model.apply({"params": p}, b))(names.unflatten(flat), data)


INSIDE = dict(adapter_size=5, prefix_length=3, prefix_gated=True)


@functools.cache
def three_parts(family):
    """(model with LoRA, adapters and gated prefixes, its stored parameters, parameters -> logits)."""
    model = Adapted(models.build(tiny.config(family, **INSIDE)), (Lora(2, 6.0, TARGETS),))
    data = tiny.batch(family)
    return model, drawn(model), jax.jit(lambda flat: model.apply({"params": names.unflatten(flat)}, data).logits)


ZEROS = ("/b", "/up/kernel", "_adapter/up/bias", "_adapter/down/bias", "/prefix_gate")  # where new parts begin at zero


def test_what_begins_at_zero():
    model, flat, _ = three_parts("gpt2")
    old = models.parameters(models.build(tiny.config("gpt2"))).shapes

    @jax.jit
    def initial():  # of what is new; the compiler leaves the rest out
        made = names.flatten(meta.unbox(model.init(jax.random.key(0), tiny.batch("gpt2")))["params"])
        return {name: made[name] for name in flat if name not in old}

    fresh = jax.device_get(initial())
    for name, leaf in fresh.items():
        assert name.endswith(ZEROS) != leaf.any(), name
    a = fresh["lora/decoder/layers/ffn/up/a"]  # within 1 / sqrt(in), and down to its edges
    assert 0.9 * 32**-0.5 < np.abs(a).max() <= 32**-0.5
    down = fresh["decoder/layers/ffn_adapter/down/kernel"]
    np.testing.assert_allclose(down.std(), 1e-2, rtol=0.15)
    assert np.abs(down).max() < 0.025  # truncated at two deviations of the normal that is cut


@pytest.mark.parametrize("family", FAMILIES)
def test_training_begins_at_the_base_model_and_every_part_counts(family):
    model, flat, apply = three_parts(family)
    plain = models.build(tiny.config(family))
    old = models.parameters(plain).shapes
    expected = run(plain, {name: flat[name] for name in old}, tiny.batch(family)).logits
    zero = {name: np.zeros_like(leaf) for name, leaf in flat.items() if name not in old and name.endswith(ZEROS)}
    np.testing.assert_allclose(apply(flat | zero), expected, rtol=1e-6, atol=1e-6)
    for part in ("lora/", "adapter/", "prefix_"):
        moved = flat | {name: leaf for name, leaf in zero.items() if part not in name}
        assert np.abs(apply(moved) - expected).max() > 1e-4, part


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_adds_the_scaled_product_and_merges_into_an_ordinary_model(family):
    model, flat, apply = three_parts(family)
    merged = names.flatten(jax.device_get(model.merge(names.unflatten(flat))))
    assert {name: leaf.shape for name, leaf in merged.items()} == models.parameters(model.model).shapes
    changed = set()
    for name, leaf in merged.items():
        path = f"lora/{name.removesuffix('/kernel')}"
        if f"{path}/a" not in flat:
            np.testing.assert_array_equal(leaf, flat[name])
            continue
        changed.add(name.split("/")[-2])
        a, b = (flat[f"{path}/{x}"].astype(np.float64) for x in "ab")
        np.testing.assert_allclose(leaf, flat[name] + 3.0 * np.einsum("lir,lro->lio", a, b), atol=1e-5)
    assert changed == {"query", "value", "up"}
    expected = run(model.model, merged, tiny.batch(family)).logits
    np.testing.assert_allclose(apply(flat), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["prefix", "p_tuning"])
def test_networks_are_dropped_when_merged(method):
    model, flat = make("t5", method)
    merged = model.merge(names.unflatten(flat))
    shapes = {name: leaf.shape for name, leaf in names.flatten(merged).items()}
    assert shapes == models.parameters(model.model).shapes


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_networks_compute_what_the_papers_say():
    model, flat = make("gpt2", "prefix")
    merged = names.flatten(model.merge(names.unflatten(flat)))
    own = "prefix/decoder"
    for layer in range(3):
        for kind in ("key", "value"):
            for place in range(3):
                h = np.tanh(flat[f"{own}/embedding"][place] @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"])
                path = f"{own}/layers/{kind}"
                expected = h @ flat[f"{path}/kernel"][layer] + flat[f"{path}/bias"][layer]
                got = merged[f"decoder/layers/attention/prefix_{kind}"][layer, place]
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    model, flat = make("gpt2", "p_tuning")
    own, x = "prompt/decoder", flat["prompt/decoder/embedding"]
    ways = []
    for way in ("forward", "backward"):
        weights = {k: jnp.asarray(flat[f"{own}/{way}/{k}_kernel"]) for k in ("input", "state")}
        weights["bias"] = flat[f"{own}/{way}/bias"]
        ways.append(recurrent.lstm(weights, jnp.asarray(x)[None], None, way == "backward")[0])
    h = np.concatenate(ways, axis=-1) @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"]
    expected = np.maximum(h, 0) @ flat[f"{own}/output/kernel"] + flat[f"{own}/output/bias"]
    got = names.flatten(model.merge(names.unflatten(flat)))["decoder_prompt/embedding"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def brute_force(params, x, visible, bias, gated, c):
    """One layer's attention with a prefix, query by query and head by head."""
    q, k, v = (
        (x @ params[n]["kernel"] + params[n]["bias"]).reshape(*x.shape[:2], -1, c.head_dim)
        for n in ("query", "key", "value")
    )
    own_k, own_v = (params[n].reshape(-1, c.kv_heads, c.head_dim) for n in ("prefix_key", "prefix_value"))
    out = np.zeros(q.shape)

    def softmax(scores, values):
        weights = np.exp(scores - scores.max())
        return weights / weights.sum() @ values

    for row, t, head in np.ndindex(*q.shape[:3]):
        group = head // (c.heads // c.kv_heads)
        seen = np.flatnonzero(visible[row, t])
        scores = k[row, seen, group] @ q[row, t, head] * c.head_dim**-0.5 + bias[0, head, t, seen]
        in_front = own_k[:, group] @ q[row, t, head] * c.head_dim**-0.5
        values, front_values = v[row, seen, group], own_v[:, group]
        if gated:
            gate = np.tanh(params["prefix_gate"][head])
            out[row, t, head] = softmax(scores, values) + gate * softmax(in_front, front_values)
        else:
            both = np.concatenate([in_front, scores]), np.concatenate([front_values, values])
            out[row, t, head] = softmax(*both)
    return out.reshape(*x.shape[:2], -1) @ params["output"]["kernel"] + params["output"]["bias"]


@pytest.mark.parametrize("gated, backend", [(True, "einsum"), (False, "einsum"), (False, "xla")])
@pytest.mark.parametrize("causal", [False, True])
def test_prefixes_are_keys_and_values_in_front(causal, gated, backend):
    """Joined in one softmax (Li and Liang 2021), or in one of their own behind a gate (Zhang et al. 2023)."""
    changes = dict(kv_heads=2, prefix_length=3, prefix_gated=gated, attention_backend=backend)
    c = tiny.config("gpt2" if causal else "bert", **changes)
    rng = np.random.default_rng(0)
    module = Attention(c, dataclasses.replace(c.blocks[0], positions=SCHEMES["relative_bias"]()), True)
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1]], np.int32)
    # A decoder without segments takes the way of the named static cases.
    seen = Visibility(causal=causal, **({} if causal else dict(query_segments=segments, key_segments=segments)))
    x, bias = rng.normal(size=(2, 6, 32)).astype(np.float32), rng.normal(size=(1, 4, 6, 6)).astype(np.float32)
    shapes = jax.eval_shape(lambda: meta.unbox(module.init(jax.random.key(0), x, x, seen, True)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)
    got, _ = jax.jit(lambda p: module.apply({"params": p}, x, x, seen, True, bias))(params)
    visible = np.tril(np.ones((2, 6, 6), bool)) if causal else segments[:, :, None] == segments[:, None]
    np.testing.assert_allclose(got, brute_force(params, x, visible, bias, gated, c), rtol=1e-4, atol=1e-5)


IDS = np.array([7, 11, 13, 17])


def in_front(data):
    """The batch with the tokens IDS in front of the first stack's text."""
    rows = len(data["tokens"])

    def put(array, values):
        return np.concatenate([np.tile(np.asarray(values, np.int32), (rows, 1)), array], axis=1)

    made = {**data, "tokens": put(data["tokens"], IDS)}
    if "segments" in data:
        made["segments"] = put(data["segments"], [1] * 4)
    if "ranks" in data:
        made["ranks"] = put(data["ranks"], [0] * 4)
    if "positions" in data:
        made["positions"] = put(data["positions"] + 4, range(4))
    if "token_types" in data:
        made["token_types"] = put(data["token_types"], [0] * 4)
    return made


@pytest.mark.parametrize(
    "family, described, changes",
    [
        ("bert", True, dict(embedding_width=16)),
        ("gpt2", False, {}),
        ("gpt2", True, dict(positions="rotary", scale_embeddings=True)),
        ("t5", True, dict(shared_stacks=True)),
    ],
)
def test_a_prompt_of_token_vectors_is_those_tokens_in_front(family, described, changes):
    """So positions, segments, ranks and embeddings' norms are those of text; heads see the text's places alone."""
    config = tiny.config(family, prompt_length=4, **changes)
    model = models.build(config)
    rng = np.random.default_rng(0)
    flat = {name: jnp.asarray(leaf) for name, leaf in drawn(model).items()}
    flat = names.flatten(prompt_from_vocabulary(names.unflatten(flat), IDS))
    data = tiny.batch(family, rows=3)
    if described:
        length = data["tokens"].shape[1]
        data["segments"] = (np.arange(length) < np.array([[length], [5], [8]])).astype(np.int32)
        data["positions"] = np.tile(np.arange(length, dtype=np.int32), (3, 1))
        if family == "gpt2":
            data["ranks"] = np.maximum(data["positions"] - 3, 0)
        if family == "bert":
            data["token_types"] = rng.integers(0, 2, (3, length)).astype(np.int32)
    (prompt,) = (name for name in flat if name.endswith("_prompt/embedding"))
    plain = models.build(dataclasses.replace(config, prompt_length=0))
    expected = run(plain, {name: leaf for name, leaf in flat.items() if name != prompt}, in_front(data))
    got = run(model, flat, data)
    cut = 0 if family == "t5" else 4
    assert got.hidden.shape == (3, expected.hidden.shape[1] - cut, 32)
    for key in ("hidden", "logits"):
        np.testing.assert_allclose(getattr(got, key), getattr(expected, key)[:, cut:], rtol=1e-5, atol=1e-5)
    if family == "t5":
        np.testing.assert_allclose(got.encoder_hidden, expected.encoder_hidden[:, 4:], rtol=1e-5, atol=1e-5)


def test_the_vocabulary_fills_a_prompt_again_and_again():
    _, flat = make("gpt2", "prompt")
    params = jax.tree.map(jnp.asarray, names.unflatten(flat))
    made = prompt_from_vocabulary(params, [9, 5])["decoder_prompt"]["embedding"]
    np.testing.assert_array_equal(made, flat["token/embedding"][[9, 5, 9, 5]])


def split_of(model, method, **changes):
    shapes = models.parameters(model).shapes
    (stage,) = method_of(method, **changes).stages(None, shapes, None)
    return Split([(pattern, value) for pattern, value in stage.rules if pattern != label_pattern()], shapes)


def expected_names(method, base):
    """What a method trains of BERT, spelt out."""
    one, both = "encoder/layers", ("attention", "ffn")
    ends = {
        "lora": [f"lora/{one}/{path}/{x}" for path in ("attention/query", "attention/value", "ffn/up") for x in "ab"],
        "adapters": [
            *(f"{one}/{part}_adapter/{way}/{x}" for part in both for way in ("down", "up") for x in ("kernel", "bias")),
            *(name for name in base if "norm/" in name),
        ],
        "prefix": [
            f"{one}/attention/prefix_gate",
            *(f"prefix/encoder/{x}" for x in ("embedding", "hidden/kernel", "hidden/bias")),
            *(f"prefix/encoder/layers/{kind}/{x}" for kind in ("key", "value") for x in ("kernel", "bias")),
        ],
        "prompt": ["encoder_prompt/embedding"],
        "p_tuning": [
            "prompt/encoder/embedding",
            *(f"prompt/encoder/{part}/{x}" for part in ("hidden", "output") for x in ("kernel", "bias")),
            *(f"prompt/encoder/{way}/{x}_kernel" for way in ("forward", "backward") for x in ("input", "state")),
            *(f"prompt/encoder/{way}/bias" for way in ("forward", "backward")),
        ],
    }
    return set(ends[method])


@pytest.mark.parametrize("method", METHODS)
def test_patterns_train_the_new_parts_and_no_more(method):
    model, flat = make("bert", method)
    base = models.parameters(models.build(tiny.config("bert"))).shapes
    trains = split_of(model, method).trainable_shapes()
    assert set(trains) == expected_names(method, base)
    assert set(flat) - set(base) <= set(trains)
    assert len({"encoder_embeddings/norm/scale", "encoder/layers/ffn_norm/bias"} & set(trains)) == 2 * (
        method == "adapters"
    )
    if method == "lora":  # layer 1 is not adapted
        assert trains["lora/encoder/layers/ffn/up/a"] == (2, 32, 2)


def test_layers_below_the_lowest_factors_need_no_backward_pass():
    targets = ((r".*/layers/2/attention/query/kernel", True), (r".*", False))
    model, flat = make("bert", "lora", lora_targets=targets)
    split = split_of(model, "lora", lora_targets=targets)
    assert split.frozen_layers() == {"frozen_encoder": 2, "frozen_decoder": 0}
    trainable, frozen = split(names.unflatten(flat))
    data = tiny.batch("bert")

    def gradient(model):
        def loss(part):
            return jnp.square(model.apply({"params": split.merge(part, frozen)}, data).logits).mean()

        return names.flatten(jax.jit(jax.grad(loss))(trainable))

    expected = gradient(model)
    assert set(expected) == {f"lora/encoder/layers/attention/query/{x}" for x in "ab"}
    for name, leaf in gradient(Adapted(models.build(model.config, **split.frozen_layers()), model.parts)).items():
        assert leaf.shape[0] == 1
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", ["prefix", "prompt", "p_tuning", "adapters"])
def test_parts_at_the_bottom_leave_nothing_to_skip(method):
    model, _ = make("t5", method)
    assert split_of(model, method).frozen_layers() == {"frozen_encoder": 0, "frozen_decoder": 0}


def test_eight_devices_compute_what_one_does():
    """With every part at once, each of which has a gradient."""
    sizes = dict(**INSIDE, prompt_length=4)
    parts = (Lora(2, 4.0, TARGETS), PrefixNetwork(6), PromptNetwork(6))
    model = Adapted(models.build(tiny.config("gpt2", **sizes)), parts)
    made, flat = models.parameters(model), drawn(model)
    params, data = names.unflatten(flat), tiny.batch("gpt2")

    def loss(params, data):
        return jnp.square(model.apply({"params": params}, data).logits).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(params, data)
    for name, leaf in names.flatten(gradient).items():
        assert all(layer.any() for layer in (np.asarray(leaf) if names.is_stacked(name) else [np.asarray(leaf)])), name
    mesh = meshes.make_mesh(dict(data=2, fsdp=2, tensor=2, sequence=1))
    placed = jax.device_put(params, meshes.placement(params, made.axis_names, made.shapes, mesh))
    cut = placed["lora"]["decoder"]["layers"]["attention"]["query"]["b"].sharding.shard_shape((3, 2, 32))
    assert cut == (3, 2, 16)
    rows = jax.device_put(data, meshes.row_sharding(mesh))
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        other_value, other = jax.jit(jax.value_and_grad(loss))(placed, rows)
    np.testing.assert_allclose(other_value, value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 + 2e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(
    "method, changes, word",
    [
        ("lora", dict(lora_rank=0), "finetune.lora_rank=0 must be at least 1"),
        ("adapters", dict(adapter_size=0), "finetune.adapter_size=0"),
        ("p_tuning", dict(prompt_hidden=7), "must be even"),
        ("prompt", dict(prompt_length=64), "leaves no place for text"),
        ("lora", dict(lora_targets=((r".*", False),)), "adapt no kernel"),
        ("lora", dict(lora_targets=((r".*/qery/kernel", True), (r".*", False))), "matches no parameter"),
        ("lora", dict(lora_targets=((r".*", "yes"),)), "finetune.lora_targets=.* true or false"),
    ],
)
def test_sizes_and_rules_that_make_no_sense(method, changes, word):
    with pytest.raises(ConfigError, match=word):
        with_parts(tiny.config("bert"), method_of(method, **changes))


@pytest.mark.parametrize(
    "family, changes, word",
    [
        (("xlnet", "base"), dict(prefix_length=3), "positions=transformer_xl scores distances"),
        (("deberta", "base"), dict(prompt_length=3), "positions=disentangled scores distances"),
        (("lstm", None), dict(adapter_size=3), "needs model.architecture=encoder"),
        (("bert", "base"), dict(prefix_gated=True), "needs model.prefix_length"),
    ],
)
def test_models_that_cannot_have_such_parts(family, changes, word):
    name, preset = family
    preset = preset or next(iter(models.presets(name)))
    with pytest.raises(ConfigError, match=word):
        models.resolve(dict(family=name, preset=preset, **changes))


def test_parts_and_models_that_do_not_belong_together():
    model = models.build(tiny.config("bert"))
    for part, option in ((PrefixNetwork(4), "prefix_length"), (PromptNetwork(4), "prompt_length")):
        with pytest.raises(ConfigError, match=f"set model.{option}"):
            Adapted(model, (part,))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_packed_texts_compute_what_they_compute_alone(family):
    """Every text of a row sees the whole prefix; of a prompt that would not hold, objectives.frames refuses it."""
    model = models.build(tiny.config(family, adapter_size=5, prefix_length=3))
    flat = drawn(model)
    tokens = tiny.batch(family, rows=1)["tokens"]
    sizes = (7, 4)
    segments, positions = (np.zeros_like(tokens) for _ in range(2))
    alone = {name: np.zeros((2, tokens.shape[1]), np.int32) for name in ("tokens", "segments", "positions")}
    for number, size in enumerate(sizes):
        first = sum(sizes[:number])
        segments[0, first : first + size], positions[0, first : first + size] = number + 1, range(size)
        alone["tokens"][number, :size] = tokens[0, first : first + size]
        alone["segments"][number, :size], alone["positions"][number, :size] = 1, range(size)
    packed = run(model, flat, {"tokens": tokens, "segments": segments, "positions": positions}).hidden
    expected = run(model, flat, alone).hidden
    for number, size in enumerate(sizes):
        first = sum(sizes[:number])
        np.testing.assert_allclose(packed[0, first : first + size], expected[number, :size], rtol=1e-4, atol=1e-4)


def test_a_row_has_less_room_beside_a_prompt():
    assert tiny.config("bert", prompt_length=4).longest_row == 60
    assert tiny.config("t5", prompt_length=4).longest_row is None
    config = get_base()
    config.data.sequence_length, config.train.batch_size = 12, 8
    sizes = (1, 1, 1, 8)
    meshes.check_sizes(config, tiny.config("gpt2", prompt_length=4), sizes)
    with pytest.raises(ConfigError, match="12 with a prompt of 3 does not divide by mesh.sequence=8"):
        meshes.check_sizes(config, tiny.config("gpt2", prompt_length=3), sizes)
