"""Optimizers against plain numpy, schedules against the papers' formulas."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import flags
from ml_collections import config_flags

from cloze import options
from cloze.configs import base
from cloze.data.durations import to_steps
from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import run
from cloze.training.optimizers.base import OPTIMIZERS, per_layer
from cloze.training.schedules import make_schedule
from cloze.training.updates import carry, from_config, make_optimizer, scale_each

SHAPES = {
    "encoder/layers/ffn/up/bias": (3, 4),
    "encoder/layers/ffn/up/kernel": (3, 8, 4),
    "token/embedding": (6, 4),
}


def tree(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def settings(name, **changes):
    """The optimizer that a configuration gives."""
    section = base.get_base().optimizer
    section.update({"name": name, "clip_norm": 0.0, "weight_decay": 0.0, **changes})
    return from_config(section)


def decays(value):
    """The same answer to which parameters decay, for all."""
    return {name: np.full(shape[0], value) if "layers" in name else value for name, shape in SHAPES.items()}


def update(s, steps=1, decay=True):
    """Parameters after some updates with gradients tree(1), tree(2), ..."""
    optimizer = make_optimizer(s, lambda step: 0.1, SHAPES, decays(decay))
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


def test_stable_adamw_slows_each_layer_whose_gradient_outgrows_its_second_moment():
    """Algorithm 2 of Wortsman et al. 2023, in numpy: gradients a hundred times larger come after two steps."""
    optimizer = make_optimizer(settings("stable_adamw", weight_decay=0.3), lambda step: 0.1, SHAPES, decays(True))
    params = nested(tree(0))
    state = optimizer.init(params)
    sizes = [1.0, 1.0, np.array([1.0, 100.0, 1.0])]  # of the gradient of each layer
    for t, size in enumerate(sizes, 1):
        grads = {n: g * np.reshape(size, (-1, *[1] * (g.ndim - 1))) if "layers" in n else g for n, g in tree(t).items()}
        updates, state = optimizer.update(nested(grads), state, params)
        params = optax.apply_updates(params, updates)
    slowed = set()
    for name, start in tree(0).items():
        for layer in range(len(start)) if "layers" in name else [...]:
            p, m, v = start[layer], 0.0, 0.0
            for t, size in enumerate(sizes, 1):
                g = tree(t)[name][layer] * (np.broadcast_to(size, 3)[layer] if "layers" in name else 1.0)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                moment, square = m / (1 - 0.9**t), v / (1 - 0.999**t)
                rate = 0.1 / max(1.0, np.sqrt(np.mean(g**2 / np.maximum(square, 1e-12))))
                slowed |= {layer} if rate < 0.07 else set()
                p = p - rate * (moment / (np.sqrt(square) + 1e-6) + 0.3 * p)
            np.testing.assert_allclose(names.flatten(params)[name][layer], p, rtol=1e-4, atol=1e-5)
    assert slowed == {1}


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


@pytest.mark.parametrize("name", [*OPTIMIZERS, "scale_by_radam", "scale_by_yogi"])
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


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(name="adma"), "unknown optimizer.name='adma'; did you mean 'adamw'"),
        (dict(schedule="cosin"), "optimizer.schedule='cosin' is not one of .*; did you mean 'cosine'"),
        (dict(beta1=1.0), r"optimizer.beta1=1.0 must be at least 0 and less than 1"),
        (dict(layer_decay=0.0), r"optimizer.layer_decay=0.0 must be more than 0 and at most 1"),
        (dict(layer_decay=1.1), r"optimizer.layer_decay=1.1 must be more than 0 and at most 1"),
        (dict(decay_share=0.2), "optimizer.decay_share=0.2 needs optimizer.schedule=wsd"),
        (dict(name="adafactor", beta1=0.5), "optimizer.beta1 is an option of .*adamw.*adafactor does not read it"),
        (dict(name="scale_by_rdam"), "unknown optimizer.name='scale_by_rdam'"),
        (dict(name="scale_by_learning_rate"), "is no optimizer that runs with options alone"),
        (dict(name="scale_by_radam", beta1=0.5), "optimizer.beta1 is an option of"),
    ],
)
def test_what_an_optimizer_cannot_be_is_refused(values, message):
    config = base.get_base()
    with pytest.raises(ConfigError, match=message):
        config.optimizer.update(values)
        base.check(config)


def test_a_function_of_optax_is_an_optimizer_with_its_own_options():
    got, _ = update(settings("scale_by_yogi", b1=0.7, eps=0.1), steps=3)
    tx = optax.scale_by_yogi(b1=0.7, eps=0.1)
    for name, p in tree(0).items():
        state = tx.init(p)
        for t in range(1, 4):
            step, state = tx.update(tree(t)[name], state, p)
            p = p - 0.1 * step
        np.testing.assert_allclose(got[name], p, rtol=1e-5, atol=1e-6)
    # One of statistics over a parameter takes them over each layer.
    got, _ = update(settings("scale_by_param_block_norm"))
    kernel, g = (tree(i)["encoder/layers/ffn/up/kernel"] for i in (0, 1))
    norms = np.sqrt(np.sum(kernel**2, axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(got["encoder/layers/ffn/up/kernel"], kernel - 0.1 * norms * g, rtol=1e-4, atol=1e-5)


def test_flags_choose_a_function_of_optax_and_set_its_options(monkeypatch):
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    path = pathlib.Path(__file__).parents[2] / "configs" / "gpt2.py"
    argv = ["x", f"--config={path}:tiny", "--config.optimizer.name=scale_by_yogi", "--config.optimizer.b1=0.7"]
    monkeypatch.setattr(sys, "argv", argv)
    with options.choosing():
        values(argv)
    chosen = from_config(config.value.optimizer)
    assert (chosen.b1, chosen.b2, chosen.learning_rate) == (0.7, 0.999, 1e-3)


def test_a_schedule_that_ends_before_its_warm_up_is_refused():
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


@pytest.mark.parametrize("shape, half", [("linear", 0.5), ("sqrt", 0.5**0.5)])
def test_warm_up_stable_decay(shape, half):
    """Hägele et al. 2024, section 3: up, level, and then 1 - x or 1 - sqrt(x) of the way down."""
    wsd = make_schedule(
        "wsd", 2e-3, warmup_steps=10, decay_steps=100, final_fraction=0.1, decay_share=0.2, decay_shape=shape
    )
    assert float(wsd(0)) == pytest.approx(2e-4)
    assert [float(wsd(step)) for step in (9, 10, 50, 80)] == pytest.approx([2e-3] * 4)
    assert float(wsd(90)) == pytest.approx(2e-3 * (0.1 + 0.9 * (1 - half)))
    assert float(wsd(100)) == float(wsd(500)) == pytest.approx(2e-4)
    with pytest.raises(ConfigError, match="would fall from step 80 to 100, and warm-up lasts until 90"):
        make_schedule("wsd", 1.0, warmup_steps=90, decay_steps=100, final_fraction=0.0, decay_share=0.2)


def test_slanted_triangular_rates_are_those_of_ulmfit():
    """Howard and Ruder 2018, section 3.2, in their words: T, cut_frac, ratio."""
    T, cut_frac, ratio, peak = 200, 0.1, 32, 0.01
    cut = int(T * cut_frac)
    rate = make_schedule("slanted_triangular", peak, warmup_steps=cut, decay_steps=T, final_fraction=1 / ratio)
    for t in range(T + 1):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        assert float(rate(t)) == pytest.approx(peak * (1 + p * (ratio - 1)) / ratio, rel=1e-5)
    assert float(rate(T + 50)) == pytest.approx(peak / ratio)


# What began to train together: the top layer, then another with the token table, then the last.
GROUPS = {
    "encoder/layers/ffn/up/bias": np.array([2, 1, 0]),
    "encoder/layers/ffn/up/kernel": np.array([2, 1, 0]),
    "token/embedding": 1,
}


def nested(flat):
    return names.unflatten({name: jnp.asarray(array) for name, array in flat.items()})


def part(flat, number):
    """What of {name: array} is of a group, as parameters of their own."""
    found = {}
    for name, array in flat.items():
        mine = np.atleast_1d(GROUPS[name]) == number
        if mine.any():
            found[name] = array[mine] if names.is_stacked(name) else array
    return found


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lamb", "muon"])
def test_groups_are_optimizers_of_their_own(name):
    """Each group moves as if it were alone, counts its own steps, and lies where it belongs in the whole."""
    s = settings(name, weight_decay=0.1)
    decay = {"encoder/layers/ffn/up/bias": np.zeros(3, bool), "token/embedding": True}
    decay["encoder/layers/ffn/up/kernel"] = np.array([True, False, True])
    grouped = make_optimizer(s, lambda step: 0.1, SHAPES, decay, groups=GROUPS)
    params, state = nested(tree(0)), grouped.init(nested(tree(0)))
    alone = {}
    for number in range(3):
        own = part(tree(0), number)
        shapes = {n: a.shape for n, a in own.items()}
        one = make_optimizer(s, lambda step: 0.1, shapes, part(decay, number))
        alone[number] = [one, nested(own), one.init(nested(own))]
    for step in (1, 2):
        updates, state = grouped.update(nested(tree(step)), state, params)
        params = optax.apply_updates(params, updates)
        for number, (one, own, memory) in alone.items():
            moved, memory = one.update(nested(part(tree(step), number)), memory, own)
            alone[number][1:] = [optax.apply_updates(own, moved), memory]
    flat = {n: np.asarray(a) for n, a in names.flatten(params).items()}
    for number, (_, own, _) in alone.items():
        for n, array in part(flat, number).items():
            np.testing.assert_allclose(array, names.flatten(own)[n], rtol=1e-5, atol=1e-7, err_msg=f"{n} of {number}")


def test_what_thaws_begins_and_what_trained_goes_on():
    """Adam of what thaws corrects its bias from its own first step, as Adam in numpy does that begins there."""
    s = settings("adamw")
    first = {name: GROUPS[name] == 0 for name in GROUPS if name != "token/embedding"}
    small = {name: (1, *SHAPES[name][1:]) for name in first}
    no_decay = {name: np.zeros(shape[0], bool) for name, shape in SHAPES.items()} | {"token/embedding": False}
    before = make_optimizer(s, lambda t: 0.1, small, {n: np.zeros(1, bool) for n in small},
                            groups={n: np.zeros(1, int) for n in small})  # fmt: skip
    params = tree(0)
    state = before.init(nested(part(params, 0)))
    for step in (1, 2, 3):
        moved, state = before.update(nested(part(tree(step), 0)), state, nested(part(params, 0)))
        for name, update in names.flatten(moved).items():
            params[name][first[name]] += np.asarray(update)
    after = make_optimizer(s, lambda t: 0.1 if t > 2 else 1e6, SHAPES, no_decay, groups=GROUPS)
    carried = carry(after.init(nested(params)), state)
    for old, new in zip(jax.tree.leaves(state[0]["0"]), jax.tree.leaves(carried[0]["0"]), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not any(np.any(leaf) for number in "12" for leaf in jax.tree.leaves(carried[0][number]))
    assert int(carried[-1].count) == 3  # the schedule goes on
    for step in (4, 5):
        moved, carried = after.update(nested(tree(step)), carried, nested(params))
        params = {n: np.asarray(a) for n, a in names.flatten(optax.apply_updates(nested(params), moved)).items()}
    for name, start in tree(0).items():
        for layer, group in enumerate(np.atleast_1d(GROUPS[name])):
            place = layer if names.is_stacked(name) else ...
            p, m, v = start[place], 0.0, 0.0
            for t, step in enumerate(range(1 if group == 0 else 4, 6), 1):
                g = tree(step)[name][place]
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                p = p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
            np.testing.assert_allclose(params[name][place], p, rtol=2e-5, atol=1e-5)
    fresh = carry(after.init(nested(params)), carried, fresh=True)
    assert int(fresh[-1].count) == 5 and not any(np.any(leaf) for leaf in jax.tree.leaves(fresh[:-1]))


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_factors_scale_the_rate_of_each_layer(name):
    """Also under Adafactor, whose steps are clipped: a factor is on the rate, not on the gradient."""
    factors = {"encoder/layers/ffn/up/bias": np.ones(3), "token/embedding": np.float32(3.0)}
    factors["encoder/layers/ffn/up/kernel"] = np.array([0.25, 0.5, 0.0])
    decay = {n: np.ones(shape[0], bool) if "layers" in n else True for n, shape in SHAPES.items()}
    plain, scaled = (
        make_optimizer(settings(name, weight_decay=0.3), lambda step: 0.1, SHAPES, decay, chosen)
        for chosen in (None, factors)
    )
    params, grads = nested(tree(0)), nested(tree(1))
    one, other = (names.flatten(o.update(grads, o.init(params), params)[0]) for o in (plain, scaled))
    for n, update in one.items():
        factor = np.reshape(factors[n], (-1, *[1] * (update.ndim - 1)))
        np.testing.assert_allclose(other[n], update * factor, rtol=1e-6)
    assert scale_each(factors).init(params) == optax.EmptyState()


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


@pytest.mark.parametrize(
    "changes, note",
    [
        (dict(decay_steps=None), None),
        (dict(decay_steps=40), None),
        (dict(decay_steps=10), "Note: the learning rate is 0 from step 10 on, but the run lasts until 40; raise"),
        (dict(decay_steps=10, final_fraction=0.1), None),
        (dict(learning_rate=0.0), "Note: the learning rate is 0 in all of the run"),
    ],
)
def test_a_rate_of_zero_is_said(changes, note):
    config, said = base.get_base(), []
    config.train.steps = 40
    config.optimizer.update(warmup_steps=1, **changes)
    lengths = {"train.steps": 40, "optimizer.warmup_steps": 1, "optimizer.decay_steps": changes.get("decay_steps")}
    rate = run._schedule(config, {"steps": 40}, (), lengths.__getitem__, said.append)
    assert [line.startswith(note) for line in said] == ([True] if note else [])
    assert (float(rate(30)) == 0) == bool(note)


def test_config_dict_durations_take_both():
    c = base.get_base()
    for section, option in ((c.train, "steps"), (c.optimizer, "decay_steps"), (c.checkpoint, "every")):
        section[option] = "2 epochs"
        section[option] = 5
        assert section[option] == 5
