"""What classifiers read: places, means, several texts a row, and states that were kept from an earlier run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import meta

from cloze import models
from cloze.errors import ConfigError
from cloze.models import heads
from cloze.models.heads.classifier import Classifier
from cloze.models.heads.transform import Transform
from cloze.models.pooling import pool
from tests.models import tiny

RNG = np.random.default_rng(0)


def config(pooling):
    return tiny.config("bert", pooling=pooling)


@pytest.mark.parametrize("pooling", ["first", "last", "max", "mean"])
def test_padding_is_not_pooled(pooling):
    hidden = RNG.normal(size=(3, 6, 4)).astype(np.float32) - 3
    sizes = [6, 2, 4]
    segments = (np.arange(6) < np.array(sizes)[:, None]).astype(np.int32)
    how = {"first": lambda x: x[0], "last": lambda x: x[-1], "max": lambda x: x.max(0), "mean": lambda x: x.mean(0)}
    expected = [how[pooling](hidden[b, :size]) for b, size in enumerate(sizes)]
    np.testing.assert_allclose(pool(jnp.array(hidden), config(pooling), segments, None), expected, rtol=1e-6)
    whole = pool(jnp.array(hidden), config(pooling), None, None)
    np.testing.assert_allclose(whole, [how[pooling](x) for x in hidden], rtol=1e-6)
    empty = pool(jnp.array(hidden), config(pooling), np.zeros_like(segments), None)
    assert np.abs(empty).max() < 10  # finite all through what comes next


def test_places_win_over_the_rule():
    hidden = jnp.array(RNG.normal(size=(2, 5, 4)))
    np.testing.assert_array_equal(
        pool(hidden, config("max"), None, np.array([3, 0])), [hidden[0, 3], hidden[1, 0]]
    )  # fmt: skip
    places = np.array([[1, 4, 0], [2, 2, 3]])
    found = pool(hidden, config("mean"), None, places)
    np.testing.assert_array_equal(found, np.stack([hidden[row, places[row]] for row in range(2)]))


MODELS = {
    "bert": dict(family="bert", preset="base", max_positions=64, num_labels=3, layers=1),
    "t5": dict(family="t5", preset="small", layers=1, decoder_layers=1, num_labels=3),
    "lstm": dict(family="lstm", preset="base", layers=1, num_labels=3),
}
SMALL = dict(vocab_size=tiny.VOCAB, vocab_multiple=8, width=16, heads=2, ffn=32, dropout=0.0, attention_dropout=0.0)


@functools.cache
def made(name, *heads):
    """(parameters from N(0, 0.3), jitted function of parameters and batch to outputs)."""
    model = models.build(models.resolve(MODELS[name] | SMALL, heads_out=heads))
    init = jax.jit(lambda: meta.unbox(model.init(jax.random.key(0), models.example_batch()))["params"])
    leaves, structure = jax.tree.flatten(init())
    rng = np.random.default_rng(1)
    params = jax.tree.unflatten(structure, [jnp.array(rng.normal(0, 0.3, x.shape), jnp.float32) for x in leaves])
    return params, jax.jit(lambda p, b: model.apply({"params": p}, b))


def texts(name, rows=2, length=7):
    """A batch of ragged rows of two texts."""
    tokens = RNG.integers(5, tiny.VOCAB, (rows, 2, length)).astype(np.int32)
    sizes = RNG.integers(2, length + 1, (rows, 2, 1))
    batch = {"tokens": tokens, "segments": (np.arange(length) < sizes).astype(np.int32)}
    batch["pool_positions"] = sizes[..., 0].astype(np.int32) - 1
    if name == "t5":
        batch |= {"decoder_tokens": np.roll(tokens, 1, -1), "decoder_segments": batch["segments"]}
    return batch


@pytest.mark.parametrize("name, head", [("bert", "choice"), ("t5", "class"), ("lstm", "class")])
def test_several_texts_are_scored_each_or_added(name, head):
    batch = texts(name)
    params, apply = made(name, head)
    found = apply(params, batch)
    alone = [apply(params, {key: array[:, c] for key, array in batch.items()}) for c in range(2)]
    if head == "choice":
        expected = np.concatenate([outputs.heads["choice"] for outputs in alone], axis=1)
        assert found.heads["choice"].shape == (2, 2) and found.features.shape == (2, 2, 16)
    else:
        expected = apply(params, {"features": alone[0].features + alone[1].features}).heads["class"]
        assert found.features.shape == (2, 16)
    np.testing.assert_allclose(found.heads[head], expected, atol=1e-5)
    assert found.hidden.shape == (2, 2, 7, 16)
    np.testing.assert_allclose(apply(params, {"features": found.features}).heads[head], expected, atol=1e-5)


def test_heads_of_tokens_read_kept_states():
    batch = {key: array[:, 0] for key, array in texts("bert").items()}
    params, apply = made("bert", "tag", "span")
    found = apply(params, batch)
    kept = apply(params, {"features": found.features})
    for head in ("tag", "span"):
        np.testing.assert_allclose(kept.heads[head], found.heads[head], atol=1e-6)
    assert found.features.shape == (2, 7, 16) and kept.hidden is None


def test_texts_packed_into_a_row_are_scored_as_alone():
    params, apply = made("bert", "class")
    tokens = RNG.integers(5, tiny.VOCAB, 7).astype(np.int32)
    packed = {
        "tokens": tokens[None], "segments": np.array([[1, 1, 1, 2, 2, 2, 2]], np.int32),
        "positions": np.array([[0, 1, 2, 0, 1, 2, 3]], np.int32), "pool_positions": np.array([[0, 3, 0]], np.int32),
    }  # fmt: skip
    found = apply(params, packed).heads["class"]
    assert found.shape == (1, 3, 3)
    for slot, own in enumerate((slice(0, 3), slice(3, 7))):
        alone = np.zeros((1, 7), np.int32)
        alone[0, : own.stop - own.start] = 1
        row = np.zeros((1, 7), np.int32)
        row[0, : own.stop - own.start] = tokens[own]
        outputs = apply(params, {"tokens": row, "segments": alone, "pool_positions": np.zeros((1, 1), np.int32)})
        np.testing.assert_allclose(found[0, slot], outputs.heads["class"][0, 0], atol=1e-5)


@pytest.mark.parametrize("family, changes", [("gpt2", {"tie_embeddings": False}), ("bert", {})])
def test_the_cap_bends_logits_softly(family, changes):
    vocabulary = {"heads_out": ("lm" if family == "gpt2" else "mlm",), **changes}
    params, data = tiny.parameters(family, **vocabulary), tiny.batch(family)
    plain = np.asarray(tiny.apply(family, data, params, **vocabulary).logits)
    capped = np.asarray(tiny.apply(family, data, params, logit_cap=0.5, **vocabulary).logits)
    np.testing.assert_allclose(capped, 0.5 * np.tanh(plain / 0.5), atol=1e-5)
    assert np.abs(plain).max() > 0.5 > np.abs(capped).max()


def test_heads_share_the_layers_under_them():
    shared = dict(head_transform=True, mlm_transform=False, pooler_activation="none", heads_out=("mlm", "class", "tag"))
    c = tiny.config("bert", **shared)
    params, data = tiny.parameters("bert", **shared), tiny.batch("bert")
    outputs = tiny.apply("bert", data, params, **shared)
    states = Transform(c, c.width).apply({"params": params["head_transform"]}, outputs.hidden)
    classify = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"]  # noqa: E731
    np.testing.assert_allclose(outputs.heads["tag"], classify("tagger", states), atol=1e-5)
    np.testing.assert_allclose(outputs.heads["class"], classify("classifier", states[:, 0]), atol=1e-5)
    logits = states @ params["token"]["embedding"].T + params["mlm_head"]["bias"]
    np.testing.assert_allclose(outputs.logits, logits[..., : c.vocab_size], atol=1e-4)


@heads.head("first_is_odd", "odd_head", rows=True, rates=("head_dropout",))
def first_is_odd(c, body):
    """A score of each row, positive where its first token is odd, f32 [B]."""
    return Classifier(c, 1, name="odd_head")(body.state, body.deterministic)[..., 0]


def test_a_new_head_is_one_function():
    """`first_is_odd` above is all that there is of it: it is initialised, learns, and answers beside the others."""
    model = models.build(tiny.config("bert", layers=1, heads_out=("mlm", "first_is_odd"), head_dropout=0.1))
    data = tiny.batch("bert", rows=16)
    odd = jnp.asarray(data["tokens"][:, 0] % 2)
    params = jax.jit(lambda: meta.unbox(model.init(jax.random.key(0), data))["params"])()
    assert params["odd_head"]["kernel"].shape == (32, 1) and "odd_head" in heads.head_modules()
    optimizer = optax.adam(1e-2)

    @jax.jit
    def update(params, state, key):
        def loss(params):
            outputs = model.apply({"params": params}, data, deterministic=False, rngs={"dropout": key})
            return optax.sigmoid_binary_cross_entropy(outputs.heads["first_is_odd"], odd).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for step in range(50):
        params, state = update(params, state, jax.random.key(step))
    outputs = jax.jit(model.apply)({"params": params}, data)
    np.testing.assert_array_equal(outputs.heads["first_is_odd"] > 0, odd)
    assert set(outputs.heads) == {"mlm", "first_is_odd"} and outputs.features is None
    with pytest.raises(ConfigError, match="architecture recurrent has no head first_is_odd; it has class, lm"):
        models.resolve(MODELS["lstm"], heads_out=("first_is_odd",))


def test_a_head_names_what_it_needs_of_a_batch():
    model = models.build(tiny.config("bert", layers=1, heads_out=("sbo",)))
    batch = tiny.batch("bert") | {"span_left": np.zeros((4, 2), np.int32)}
    with pytest.raises(ConfigError, match="sbo needs span_offsets, span_right of the batch"):
        jax.eval_shape(model.init, jax.random.key(0), batch)
