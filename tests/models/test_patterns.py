"""Stacks that repeat a pattern of blocks, and what a block may be made of."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze import models
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.inputs import Visibility
from cloze.models.layers import Context, Layer
from cloze.models.positions import Placement
from cloze.training import trainable

VOCAB, LENGTH, WIDTH, HEADS = 61, 9, 16, 2
SIZE = dict(vocab_size=VOCAB, vocab_multiple=1, width=WIDTH, heads=HEADS, kv_heads=HEADS, ffn=24, layers=5)
LLAMA = dict(family="llama", preset="3.2_1b", max_positions=LENGTH, head_dim=8, **SIZE)
LOCAL = {"window": 3, "rope_theta": 50.0}
TOKENS = np.random.default_rng(2).integers(0, VOCAB, (2, LENGTH)).astype(np.int32)


def build(frozen=0, **changes):
    """(model, parameters from N(0, 0.4), factors of norms around 1)."""
    model = models.Transformer(models.resolve(LLAMA | changes), frozen_decoder=frozen)
    shapes = meta.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), {"tokens": TOKENS})))["params"]
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        return jnp.asarray(rng.normal(path[-1].key == "scale", 0.4, leaf.shape), jnp.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def states(model, params):
    return jax.jit(lambda p: model.apply({"params": p}, {"tokens": TOKENS}, collect=True).hidden_states)(params)


def layer_of(params, index):
    return jax.tree.map(lambda leaf: leaf[index], params["decoder"]["layers"])


def test_a_pattern_is_its_blocks_in_turn():
    """Each layer by itself, with the window and the rotary base of its place in the pattern."""
    model, params = build(pattern=(LOCAL, LOCAL, {}))
    c = model.config
    found = states(model, params)
    positions = np.arange(LENGTH)[None]
    for index in range(c.layers):
        spec = models.resolve(LLAMA | ({} if index % 3 == 2 else LOCAL)).blocks[0]
        placement = Placement(positions=jnp.asarray(positions), length=LENGTH, index=positions)
        shared = spec.positions.share(c, "decoder", True, placement)
        context = Context(Visibility(causal=True, window=0 if index % 3 == 2 else 3), shared)
        y, _ = Layer(c, spec).apply({"params": layer_of(params, index)}, found[index], context, True)
        np.testing.assert_allclose(found[index + 1], y, atol=2e-5 * float(jnp.abs(y).max()))


@pytest.mark.parametrize("frozen, first", [(0, True), (2, True), (0, False), (4, False)])
def test_periods_in_a_loop_with_layers_left_over_are_the_layers_one_by_one(frozen, first):
    changes = dict(pattern=(LOCAL, {}), first_attention_norm=first)

    def value_and_gradient(**execution):
        model, params = build(frozen, **changes, **execution)
        run = lambda p: jnp.square(model.apply({"params": p}, {"tokens": TOKENS}).logits).mean()  # noqa: E731
        return jax.jit(jax.value_and_grad(run))(params)

    loss, gradient = value_and_gradient(scan=False)
    for execution in (dict(), dict(remat="full")):
        other_loss, other = value_and_gradient(**execution)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7 + 2e-5 * float(jnp.abs(b).max()))
    layers = gradient["decoder"]["layers"]
    norms = np.abs(layers["attention_norm"]["scale"]).max(axis=-1)
    assert not norms[:frozen].any() and norms[frozen or (not first) :].all()
    assert first or not norms[0]  # its norm is not there


def rms(x, scale, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * scale


def rotate(x_THE, theta, size):
    """The first `size` features of each head, in pairs (i, i + size / 2)."""
    out = x_THE.copy()
    for position, i in itertools.product(range(len(x_THE)), range(size // 2)):
        angle = position * theta ** (-2 * i / size)
        a, b = x_THE[position, :, i], x_THE[position, :, i + size // 2]
        out[position, :, i] = a * np.cos(angle) - b * np.sin(angle)
        out[position, :, i + size // 2] = b * np.cos(angle) + a * np.sin(angle)
    return out


def attend(c, p, x_TD):
    """Self-attention of a causal row, each score by itself."""
    q, k, v = (x_TD @ p[f"attention/{name}/kernel"] for name in ("query", "key", "value"))
    if c.query_key_norm == "all":
        q, k = (rms(y, p[f"attention/{n}_norm/scale"], c.norm_epsilon) for n, y in (("query", q), ("key", k)))
    q, k, v = (y.reshape(len(x_TD), HEADS, -1) for y in (q, k, v))
    if c.query_key_norm == "head":
        q, k = (rms(y, p[f"attention/{n}_norm/scale"], c.norm_epsilon) for n, y in (("query", q), ("key", k)))
    q, k = (rotate(y, c.rope_theta, round(c.rotary_share * c.head_dim)) for y in (q, k))
    out = np.zeros_like(q)
    for t, h in itertools.product(range(len(x_TD)), range(HEADS)):
        scores = k[: t + 1, h] @ q[t, h] / np.sqrt(c.query_scalar or c.head_dim)
        if c.attention_softcap:
            scores = c.attention_softcap * np.tanh(scores / c.attention_softcap)
        weights = np.exp(scores - scores.max())
        out[t, h] = weights / weights.sum() @ v[: t + 1, h]
    return out.reshape(len(x_TD), -1) @ p["attention/output/kernel"]


def feed_forward(p, x_TD):
    gate = x_TD @ p["ffn/gate/kernel"]
    return gate / (1 + np.exp(-gate)) * (x_TD @ p["ffn/up/kernel"]) @ p["ffn/down/kernel"]


def block(c, p, x_TD):
    norm = lambda name, x: rms(x, p[f"{name}/scale"], c.norm_epsilon)  # noqa: E731
    sublayers = {"attention": lambda x: attend(c, p, x), "ffn": lambda x: feed_forward(p, x)}
    if c.norm_position == "parallel":
        return x_TD + sum(f(norm(f"{name}_norm", x_TD)) for name, f in sublayers.items())
    for name, f in sublayers.items():
        y_TD = f(norm(f"{name}_norm", x_TD) if c.norm_position in ("pre", "both") else x_TD)
        if c.norm_position in ("both", "output"):
            y_TD = norm(f"{name}_output_norm" if c.norm_position == "both" else f"{name}_norm", y_TD)
        x_TD = norm(f"{name}_norm", x_TD + y_TD) if c.norm_position == "post" else x_TD + y_TD
    return x_TD


@pytest.mark.parametrize("changes", [
    dict(norm_position="pre", rotary_share=0.5),
    dict(norm_position="post", query_key_norm="head"),
    dict(norm_position="both", attention_softcap=0.7, query_scalar=3.0),
    dict(norm_position="output", query_key_norm="all"),
    dict(norm_position="parallel", rotary_share=0.25),
], ids=lambda changes: "-".join(map(str, changes.values())))  # fmt: skip
def test_a_block_is_the_formula(changes):
    model, params = build(rope_scaling=(), rope_theta=100.0, layers=2, **changes)
    found = np.asarray(states(model, params)[:, 0], np.float64)
    for index in range(2):
        p = {name: np.asarray(leaf, np.float64) for name, leaf in names.flatten(layer_of(params, index)).items()}
        expected = block(model.config, p, found[index])
        np.testing.assert_allclose(found[index + 1], expected, atol=2e-5 * np.abs(expected).max())


def test_a_norm_that_is_not_there_does_not_count():
    counts = []
    for first in (True, False):
        c = models.resolve(LLAMA, first_attention_norm=first)
        made = models.parameters(models.build(c))
        counts.append(trainable.count(made.shapes, made.axis_names, c))
    assert counts[0] - counts[1] == WIDTH


@pytest.mark.parametrize("changes, message", [
    (dict(pattern=({"width": 3},)), r"pattern\[0\]: blocks cannot differ in width.*window, .*rope_theta"),
    (dict(pattern=({}, {"window": -1})), r"pattern\[1\].window=-1 must be at least 0"),
    (dict(pattern=({"rotary_share": 0.4},)), "must be even, got 3"),
    (dict(attention_softcap=1.0, attention_backend="xla"), "attention_backend=xla has no soft cap"),
    (dict(first_attention_norm=False, norm_position="post"), "first_attention_norm=False needs model.norm_position"),
])  # fmt: skip
def test_patterns_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        models.resolve(LLAMA | changes)


def test_a_pattern_is_read_from_a_file_as_it_was_given():
    c = models.resolve(LLAMA | dict(pattern=({}, LOCAL)))
    assert models.resolve(LLAMA | dict(pattern=c.pattern)) == c and hash(c)
    assert [spec.window for spec in c.blocks] == [0, 3]
