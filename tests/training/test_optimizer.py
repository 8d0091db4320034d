"""Optimizers against plain numpy, schedules against the papers' formulas."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from configs import base
from errors import ConfigError
from models import names
from training.durations import to_steps
from training.optimizer import OPTIMIZERS, make_optimizer, per_layer
from training.schedules import make_schedule

SHAPES = {
    "encoder/layers/ffn/up/bias": (3, 4),
    "encoder/layers/ffn/up/kernel": (3, 8, 4),
    "token/embedding": (6, 4),
}


def tree(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def settings(name, **changes):
    s = base.get_base().optimizer
    s.name, s.clip_norm, s.weight_decay, s.epsilon = name, 0.0, 0.0, 1e-6
    for key, value in changes.items():
        s[key] = value
    return s


def update(s, steps=1, decay=True):
    """Parameters after some updates with gradients tree(1), tree(2), ..."""
    decays = {name: np.full(shape[0], decay) if "layers" in name else decay for name, shape in SHAPES.items()}
    optimizer = make_optimizer(s, lambda step: 0.1, SHAPES, decays)
    params = names.unflatten({k: jnp.asarray(v) for k, v in tree(0).items()})
    state = optimizer.init(params)
    for i in range(steps):
        grads = names.unflatten({k: jnp.asarray(v) for k, v in tree(i + 1).items()})
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return names.flatten(params), state


@pytest.mark.parametrize("corrected", [True, False])
def test_adam_with_and_without_bias_correction(corrected):
    s = settings("adamw" if corrected else "adam_no_bias_correction", weight_decay=0.3)
    got, _ = update(s, steps=3)
    for name, p in tree(0).items():
        m = v = 0.0
        for t in range(1, 4):
            g = tree(t)[name]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            mh, vh = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
            p = p - 0.1 * (mh / (np.sqrt(vh) + 1e-6) + 0.3 * p)
        np.testing.assert_allclose(got[name], p, rtol=2e-5, atol=1e-5)


def test_lamb_scales_each_layer_to_the_norm_of_its_parameters():
    for decays in (True, False):
        got, _ = update(settings("lamb", weight_decay=0.3), decay=decays)
        for name, p in tree(0).items():
            for layer in range(len(p)) if "layers" in name else [...]:
                g, w = tree(1)[name][layer], p[layer]
                u = g / (np.abs(g) + 1e-6) + 0.3 * decays * w
                ratio = np.linalg.norm(w) / np.linalg.norm(u) if decays else 1.0
                np.testing.assert_allclose(got[name][layer], w - 0.1 * ratio * u, rtol=2e-5, atol=1e-6)


def test_lion():
    got, _ = update(settings("lion", beta1=0.9, beta2=0.99), steps=2)
    for name, p in tree(0).items():
        m = 0.0
        for t in (1, 2):
            g = tree(t)[name]
            p = p - 0.1 * np.sign(0.9 * m + 0.1 * g)
            m = 0.99 * m + 0.01 * g
        np.testing.assert_allclose(got[name], p, rtol=1e-5, atol=1e-6)


def test_adafactor_treats_each_layer_by_itself():
    params = {"encoder/layers/kernel": jnp.asarray(np.random.default_rng(0).normal(size=(3, 130, 140)), jnp.float32)}
    params["encoder/layers/kernel"] *= jnp.array([1.0, 10.0, 100.0])[:, None, None]  # scales differ by layer
    grads = jax.tree.map(lambda p: p * 0.01 + 1.0, params)
    transformation = optax.adafactor(learning_rate=None)
    together = per_layer(transformation)
    nested, nested_grads = names.unflatten(params), names.unflatten(grads)
    updates, _ = together.update(nested_grads, together.init(nested), nested)
    for i in range(3):
        one = params["encoder/layers/kernel"][i]
        expected, _ = transformation.update(grads["encoder/layers/kernel"][i], transformation.init(one), one)
        np.testing.assert_allclose(names.flatten(updates)["encoder/layers/kernel"][i], expected, rtol=1e-5)


def test_muon_orthogonalises_each_layer_and_leaves_the_rest_to_adam():
    got, state = update(settings("muon"))
    step = (tree(0)["encoder/layers/ffn/up/kernel"] - np.asarray(got["encoder/layers/ffn/up/kernel"])) / 0.1
    for layer, direction in enumerate(step):
        values = np.linalg.svd(direction, compute_uv=False)
        assert values.max() / values.min() < 2.0  # Newton-Schulz ends near, not at, orthogonality
        assert np.sqrt(np.mean(direction**2)) == pytest.approx(0.2, rel=0.3)
        u, _, vt = np.linalg.svd(tree(1)["encoder/layers/ffn/up/kernel"][layer], full_matrices=False)
        assert np.sum(direction * (u @ vt)) > 0.9 * np.linalg.norm(direction) * np.linalg.norm(u @ vt)
    adam, _ = update(settings("adamw"))
    for name in ("token/embedding", "encoder/layers/ffn/up/bias"):
        np.testing.assert_allclose(got[name], adam[name], rtol=1e-4, atol=1e-5)


def test_decay_by_layer_and_clipping():
    s = settings("adamw", weight_decay=0.5)
    decay = {"encoder/layers/ffn/up/bias": np.zeros(3, bool), "token/embedding": False}
    decay["encoder/layers/ffn/up/kernel"] = np.array([True, False, True])
    optimizer = make_optimizer(s, lambda step: 0.1, SHAPES, decay)
    params = names.unflatten({k: jnp.asarray(v) for k, v in tree(0).items()})
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = names.flatten(optimizer.update(zeros, optimizer.init(params), params)[0])
    kernel = tree(0)["encoder/layers/ffn/up/kernel"]
    np.testing.assert_allclose(
        updates["encoder/layers/ffn/up/kernel"], -0.05 * kernel * np.array([1, 0, 1])[:, None, None], rtol=1e-5
    )
    assert not np.asarray(updates["token/embedding"]).any()
    clipped, _ = update(settings("lion", clip_norm=1e-3, beta1=0.0))
    free, _ = update(settings("lion", beta1=0.0))
    for name in SHAPES:  # the sign does not feel the scale
        np.testing.assert_array_equal(clipped[name], free[name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name):
    optimizer = make_optimizer(
        settings(name),
        lambda step: 0.02,
        SHAPES,
        {k: np.ones(s[0], bool) if "layers" in k else True for k, s in SHAPES.items()},
    )

    def loss(params):
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))

    params = names.unflatten({k: jnp.asarray(v) for k, v in tree(0).items()})
    state = optimizer.init(params)
    first = loss(params)
    for _ in range(10):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < 0.9 * first


def test_an_unknown_optimizer_or_schedule_is_named():
    with pytest.raises(ConfigError, match="adamw"):
        make_optimizer(settings("adma"), lambda step: 0.1, SHAPES, {})
    with pytest.raises(ConfigError, match="cosine"):
        make_schedule("cosin", 1.0, warmup_steps=0, decay_steps=10, final_fraction=0.0)
    with pytest.raises(ConfigError, match="warmup"):
        make_schedule("linear", 1.0, warmup_steps=10, decay_steps=10, final_fraction=0.0)


def test_schedules_follow_their_papers():
    bert = make_schedule("linear", 1e-4, warmup_steps=10, decay_steps=100, final_fraction=0.0)
    assert float(bert(0)) == pytest.approx(1e-5) and float(bert(9)) == pytest.approx(1e-4)
    assert float(bert(10)) == pytest.approx(0.9e-4) and float(bert(100)) == 0
    gpt3 = make_schedule("cosine", 6e-4, warmup_steps=10, decay_steps=110, final_fraction=0.1)
    assert float(gpt3(10)) == pytest.approx(6e-4) and float(gpt3(60)) == pytest.approx(3.3e-4)
    assert float(gpt3(500)) == pytest.approx(6e-5)
    t5 = make_schedule("inverse_sqrt", 0.01, warmup_steps=10_000, decay_steps=0, final_fraction=0.0)
    assert float(t5(0)) == pytest.approx(0.01) and float(t5(39_999)) == pytest.approx(0.005)
    constant = make_schedule("constant", 1e-3, warmup_steps=0, decay_steps=0, final_fraction=0.0)
    assert float(constant(10**6)) == pytest.approx(1e-3)


def test_durations():
    known = dict(name="train.steps", batch_size=8, tokens_per_row=100, steps_per_epoch=12.5)
    for value, steps in (
        (1000, 1000), ("1000", 1000), ("2 epochs", 25), ("1e6 tokens", 1250), ("5000 examples", 625),
        ("801 tokens", 2), ("1 step", 1), (1e3, 1000), ("0.5 epochs", 7),
    ):  # fmt: skip
        assert to_steps(value, **known) == steps
    for value in ("two epochs", "5 weeks", "", None, True, "1.2.3 epochs", "-5"):
        with pytest.raises(ConfigError, match="train.steps"):
            to_steps(value, **known)


def test_config_dict_durations_take_both():
    c = ml_collections.ConfigDict({"steps": base.duration(10)})
    c.steps = "2 epochs"
    c.steps = 5
    assert c.steps == 5
