"""LSTMs compute what Flax's cell does, never across texts packed side by side, and only in their direction."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cloze import models
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.recurrent import continues, lstm
from cloze.parallel import mesh as meshes

VOCAB, ROWS, LENGTH, WIDTH = 97, 8, 12, 16
SMALL = dict(width=WIDTH, vocab_size=VOCAB, vocab_multiple=8, dropout=0.0)
CASES = {
    "lstm": dict(family="lstm", preset="base", layers=2, ffn=WIDTH, heads_out=("lm", "class")),
    "elmo": dict(family="elmo", preset="base", ffn=24, num_labels=3, heads_out=("lm", "class")),
    "on elmo": dict(family="elmo", preset="classifier", ffn=24, num_labels=3),
}


def config(case, **changes):
    return models.resolve({**CASES[case], **SMALL, **changes})


@functools.cache
def parameters(case):
    """Parameters from N(0, 0.3), so that none is at a value that hides it, and the names of their axes."""
    made = models.parameters(models.build(config(case)))
    rng = np.random.default_rng(1)
    drawn = {n: jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32) for n, shape in made.shapes.items()}
    return names.unflatten(drawn), made.axis_names


def tokens(seed=0, rows=ROWS):
    return np.random.default_rng(seed).integers(0, VOCAB, (rows, LENGTH)).astype(np.int32)


@functools.cache
def applied(case):
    model = models.build(config(case))
    return jax.jit(lambda params, batch: model.apply({"params": params}, batch, collect=True))


def run(case, batch, params=None):
    return applied(case)(parameters(case)[0] if params is None else params, batch)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_layer_equals_the_cell_of_flax(reverse):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 7, WIDTH)).astype(np.float32)
    weights = {name: rng.normal(0, 0.3, (WIDTH, 4 * WIDTH)).astype(np.float32) for name in ("input", "state")}
    weights["bias"] = rng.normal(size=4 * WIDTH).astype(np.float32)
    cell = {}
    for gate, part in zip("ifgo", range(4), strict=True):
        cut = slice(part * WIDTH, (part + 1) * WIDTH)
        cell[f"i{gate}"] = {"kernel": weights["input"][:, cut]}
        cell[f"h{gate}"] = {"kernel": weights["state"][:, cut], "bias": weights["bias"][cut]}
    theirs = nn.RNN(nn.OptimizedLSTMCell(WIDTH), reverse=reverse, keep_order=True)
    expected = theirs.apply({"params": {"cell": cell}}, x)
    ours = jax.jit(lambda w, y: lstm(w, y, None, reverse))(weights, x)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_equal_finite_differences(reverse):
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
    shapes = {"input": (3, 16), "state": (3, 16), "bias": (16,), "projection": (4, 3)}
    weights = {name: jnp.asarray(rng.normal(0, 0.5, shape), jnp.float32) for name, shape in shapes.items()}
    same = continues(jnp.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]]), reverse)
    check_grads(lambda w, y: lstm(w, y, same, reverse), (weights, x), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("case", CASES)
def test_packed_texts_equal_texts_alone(case):
    ids = tokens()
    segments = np.tile(np.repeat([1, 2, 0], [5, 6, 1]).astype(np.int32), (ROWS, 1))
    packed = run(case, {"tokens": ids, "segments": segments})
    for first, stop in ((0, 5), (5, 11)):
        alone = {"tokens": np.zeros_like(ids), "segments": np.zeros_like(segments)}
        alone["tokens"][:, : stop - first] = ids[:, first:stop]
        alone["segments"][:, : stop - first] = 1
        outputs = run(case, alone)
        for got, expected in (
            (packed.hidden, outputs.hidden),
            *((packed.heads[name], given) for name, given in outputs.heads.items() if name.endswith("lm")),
        ):
            np.testing.assert_allclose(got[:, first:stop], expected[:, : stop - first], atol=1e-5)


def test_each_direction_knows_its_side_only():
    ids, changed = tokens(), tokens()
    changed[:, 6] = (changed[:, 6] + 1) % VOCAB
    before, after = run("elmo", {"tokens": ids}), run("elmo", {"tokens": changed})
    forward = np.abs(before.logits - after.logits).max(axis=(0, 2)) > 1e-6
    backward = np.abs(before.heads["backward_lm"] - after.heads["backward_lm"]).max(axis=(0, 2)) > 1e-6
    assert forward.tolist() == [False] * 6 + [True] * 6
    assert backward.tolist() == [True] * 7 + [False] * 5
    causal = np.abs(run("lstm", {"tokens": ids}).logits - run("lstm", {"tokens": changed}).logits).max(axis=(0, 2))
    assert (causal > 1e-6).tolist() == [False] * 6 + [True] * 6


@pytest.mark.parametrize("case", ["lstm", "on elmo"])
def test_one_device_equals_eight_and_every_parameter_is_used(case):
    params, axis_names = parameters(case)
    model = models.build(config(case))
    segments = np.tile(np.repeat([1, 2, 0], [6, 5, 1]).astype(np.int32), (ROWS, 1))
    data = {"tokens": tokens(), "segments": segments}

    def loss(p, batch):
        outputs = model.apply({"params": p}, batch)
        scores = [given for name, given in outputs.heads.items() if name != "pooler"]
        return sum(jnp.square(x).mean() for x in scores)

    step = jax.jit(jax.value_and_grad(loss))
    value, gradient = step(params, data)
    flat = {name: np.asarray(leaf) for name, leaf in names.flatten(gradient).items()}
    for name, leaf in flat.items():
        assert leaf.any(), name
        if names.is_stacked(name):
            assert all(layer.any() for layer in leaf), name
    mesh = meshes.make_mesh(dict(data=2, fsdp=2, tensor=2, sequence=1))
    shapes = {name: leaf.shape for name, leaf in names.flatten(params).items()}
    placed = jax.device_put(params, meshes.placement(params, axis_names, shapes, mesh))
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        sharded = jax.jit(jax.value_and_grad(loss))
        cut_value, cut = sharded(placed, jax.device_put(data, meshes.row_sharding(mesh)))
    np.testing.assert_allclose(value, cut_value, rtol=1e-5)
    for name, leaf in names.flatten(cut).items():
        np.testing.assert_allclose(flat[name], leaf, atol=1e-5, rtol=1e-4, err_msg=name)


def test_features_are_the_mixed_layers_of_the_model_below():
    """With weights of zero the mixture is gamma times the mean of the layers, the lowest being the embeddings twice."""
    params = names.flatten(parameters("on elmo")[0])
    params["mix/weights"] = jnp.zeros_like(params["mix/weights"])
    below = {name.removeprefix("elmo/"): leaf for name, leaf in params.items() if name.startswith("elmo/")}
    model = models.build(config("elmo", heads_out=()))
    ids = tokens()
    states = model.apply({"params": names.unflatten(below)}, {"tokens": ids}, collect=True).hidden_states
    assert states.shape == (3, ROWS, LENGTH, 2 * WIDTH)
    embedded = below["token/embedding"][ids]
    np.testing.assert_allclose(states[0], np.concatenate([embedded, embedded], axis=-1), rtol=1e-6)
    mixed = params["mix/gamma"] * states.mean(axis=0)
    first = mixed @ params["projection/kernel"] + params["projection/bias"]
    outputs = run("on elmo", {"tokens": ids}, names.unflatten(params))
    np.testing.assert_allclose(outputs.hidden_states[0, ..., :WIDTH], first, atol=1e-5)


def test_the_residual_is_around_all_layers_but_the_first():
    ids = tokens()
    with_sum = run("elmo", {"tokens": ids}).hidden_states
    model = models.build(config("elmo", recurrent_residual=False))
    without = model.apply({"params": parameters("elmo")[0]}, {"tokens": ids}, collect=True).hidden_states
    np.testing.assert_allclose(with_sum[1], without[1], atol=1e-6)
    np.testing.assert_allclose(with_sum[2], without[2] + without[1], atol=1e-5)


def test_pooling_sees_no_padding():
    ids = tokens()
    segments = np.ones_like(ids)
    segments[:, 8:] = 0
    for case in ("lstm", "elmo"):
        padded = run(case, {"tokens": ids, "segments": segments}).heads["class"]
        other = np.where(segments > 0, ids, 0)
        np.testing.assert_array_equal(padded, run(case, {"tokens": other, "segments": segments}).heads["class"])
    states = run("elmo", {"tokens": ids, "segments": segments})
    np.testing.assert_allclose(states.pooled, states.hidden[:, :8].max(axis=1))


def test_forget_gates_begin_open():
    made = models.build(config("lstm")).init(jax.random.key(0), models.example_batch())["params"]
    bias = made["forward"]["layers"]["bias"].value
    np.testing.assert_array_equal(bias, np.tile(np.repeat([0.0, 1.0, 0.0, 0.0], WIDTH), (2, 1)))


@pytest.mark.parametrize("case, changes, message", [
    ("lstm", dict(heads_out=("mlm",)), "architecture recurrent has no head mlm; it has class, lm"),
    ("lstm", dict(positions="learned", max_positions=8), "set model.positions=none"),
    ("lstm", dict(remat="full"), "model.remat='full' needs model.architecture=encoder"),
    ("lstm", dict(feature_layers=2, heads_out=("class",)), "needs model.architecture=bidirectional_recurrent"),
    ("elmo", dict(pooling="last"), "model.pooling=max"),
    ("elmo", dict(feature_layers=2), "no head lm"),
])  # fmt: skip
def test_what_they_cannot_do_is_refused(case, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(case, **changes)


def test_transformers_have_no_settings_of_recurrent_models():
    with pytest.raises(ConfigError, match="recurrent_residual=True needs model.architecture=recurrent"):
        models.resolve(dict(family="bert", preset="base", recurrent_residual=True))


@pytest.mark.parametrize("family", ["skip_gram", "glove"])
def test_scores_of_word_vectors_are_products_and_biases(family):
    c = models.resolve(dict(family=family, preset="base", width=4, vocab_size=VOCAB, vocab_multiple=8))
    model = models.build(c)
    shapes = models.parameters(model).shapes
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    ids, contexts = tokens(rows=2), rng.integers(0, VOCAB, (2, LENGTH, 3, 2)).astype(np.int32)
    outputs = model.apply({"params": names.unflatten(params)}, {"tokens": ids, "contexts": contexts})
    for place in np.ndindex(contexts.shape):
        word, context = ids[place[:2]], contexts[place]
        score = params["token/embedding"][word] @ params["context/embedding"][context]
        if family == "glove":
            score += params["token_bias"][word] + params["context_bias"][context]
        np.testing.assert_allclose(outputs.heads["context"][place], score, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(outputs.hidden, params["token/embedding"][ids])

    low = models.build(dataclasses.replace(c, dtype="bfloat16"))
    rounded = low.apply({"params": names.unflatten(params)}, {"tokens": ids, "contexts": contexts})
    assert rounded.hidden.dtype == jnp.bfloat16 and rounded.heads["context"].dtype == jnp.float32
    difference = np.abs(np.asarray(rounded.heads["context"]) - np.asarray(outputs.heads["context"]))
    assert 1e-4 < difference.max() < 0.1
