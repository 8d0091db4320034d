"""Private gradients against a loop over examples, the noise against its distribution, epsilon against closed forms."""

import dataclasses
import functools
import json
import math

import dp_accounting
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dp_accounting import pld
from scipy import optimize, stats

from cloze import models
from cloze.configs import base
from cloze.data.batches import Batches
from cloze.data.poisson import Drawing
from cloze.errors import ConfigError
from cloze.parallel import mesh as meshes
from cloze.training.checkpoint import Checkpoints
from cloze.training.features import FrozenFeatures, with_features
from cloze.training.gradients import Loss, make_gradient
from cloze.training.loop import Progress, fit
from cloze.training.metrics import MetricWriter
from cloze.training.private import epsilon, private_gradient
from cloze.training.step import train_step
from tests.models import tiny
from tests.training import tiny_run, tiny_task

ROWS = 8
FILLER = (2, 5)  # rows of nothing but padding
MODEL = models.Transformer(tiny.config("bert", layers=1, heads_out=("class",)))


def loss_of_one(trainable, row):
    outputs = MODEL.apply({"params": trainable}, row)
    label_log_p = jnp.take_along_axis(jax.nn.log_softmax(outputs.heads["class"]), row["labels"][:, None], axis=1)[:, 0]
    loss = -jnp.sum(label_log_p * row["label_weights"]) * row["scale"][0]
    return loss, {"loss": loss, "weight": jnp.sum(row["label_weights"])}


@pytest.fixture(scope="module")
def batch():
    made = tiny.batch("bert", rows=ROWS)
    made["segments"] = np.ones_like(made["tokens"])
    made["segments"][list(FILLER)] = 0
    made["labels"] = (np.arange(ROWS) % 2).astype(np.int32)
    made["label_weights"] = np.array([float(row not in FILLER) for row in range(ROWS)], np.float32)
    made["scale"] = np.logspace(-3, 1, ROWS).astype(np.float32)  # so that short and long gradients occur
    return made


@pytest.fixture(scope="module")
def present(batch):
    return batch["label_weights"] > 0


@pytest.fixture(scope="module")
def trainable():
    return tiny.parameters("bert", layers=1, heads_out=("class",))


@pytest.fixture(scope="module")
def one_by_one(batch, trainable):
    """[(gradient, others)] of each row that is present, by a loop."""
    gradient = jax.jit(jax.grad(loss_of_one, has_aux=True))
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch) for i in range(ROWS) if i not in FILLER]
    return [jax.device_get(gradient(trainable, row)) for row in rows]


@pytest.fixture(scope="module")
def norms(one_by_one):
    return np.array([math.sqrt(sum(np.sum(x.astype(float) ** 2) for x in jax.tree.leaves(g))) for g, _ in one_by_one])


def key(step=0):
    return jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), step)


def private(clip_norm, trainable, batch, present, noise, *, microbatches=1, loss=loss_of_one, step=0):
    return private_gradient(
        loss, trainable, batch, present, key(step), clip_norm=clip_norm, noise_multiplier=noise, expected_size=4.0,
        microbatches=microbatches,
    )  # fmt: skip


@pytest.fixture(scope="module")
def compiled(batch, present, trainable):
    """`private` in two microbatches: a function of the clipping norm, who is present, and the noise."""
    step = jax.jit(functools.partial(private, microbatches=2))
    made = step.lower(1.0, trainable, batch, present, 0.0).compile()
    call = lambda clip_norm, present, noise=0.0: made(clip_norm, trainable, batch, present, noise)  # noqa: E731
    call.flops = made.cost_analysis()["flops"]  # counts the loop over microbatches once
    return call


def clipped_mean(one_by_one, norms, clip_norm):
    def mean(*gradients):
        return sum(g * min(1, clip_norm / n) for g, n in zip(gradients, norms, strict=True)) / 4.0

    return jax.tree.map(mean, *[gradient for gradient, _ in one_by_one])


def assert_close(got, wanted, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), jax.device_get(got), wanted)


@pytest.mark.parametrize("clipped", [0, 3, 6])
def test_rows_are_clipped_one_by_one(clipped, compiled, present, one_by_one, norms):
    ordered = np.sort(norms)
    clip_norm = float({0: 2 * ordered[5], 3: ordered[2:4].mean(), 6: ordered[0] / 2}[clipped])
    gradient, others, metrics = compiled(clip_norm, present)
    assert_close(gradient, clipped_mean(one_by_one, norms, clip_norm), rtol=1e-4, atol=1e-6 * clip_norm)
    assert metrics["clipped"] == pytest.approx(clipped / 6)
    assert others["weight"] == 6
    assert others["loss"] == pytest.approx(sum(o["loss"] for _, o in one_by_one), rel=1e-5)


def test_without_clipping_and_noise_it_is_the_gradient_of_the_batch(compiled, batch, present, trainable):
    def loss_of_all(trainable):
        outputs = MODEL.apply({"params": trainable}, batch)
        log_p = jax.nn.log_softmax(outputs.heads["class"])[jnp.arange(ROWS), batch["labels"]]
        return -jnp.sum(log_p * batch["label_weights"] * batch["scale"]) / 4.0

    gradient, _, _ = compiled(1e6, present)
    assert_close(gradient, jax.device_get(jax.jit(jax.grad(loss_of_all))(trainable)), rtol=1e-3, atol=1e-5)


def test_one_row_moves_the_sum_by_the_clipping_norm_at_most(compiled, present, norms):
    """The sensitivity that the noise is measured against; exactly the norm for a row that is longer."""
    clip_norm = float(np.sort(norms)[2:4].mean())
    whole, _, _ = compiled(clip_norm, present)
    for row, norm in zip(np.flatnonzero(present), norms, strict=True):
        without, _, _ = compiled(clip_norm, present & (np.arange(ROWS) != row))
        moved = jax.tree.map(lambda a, b: np.asarray(a, float) - np.asarray(b, float), whole, without)
        length = 4.0 * math.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(moved)))
        assert length == pytest.approx(min(norm, clip_norm), rel=1e-4, abs=1e-5 * clip_norm)


def test_a_mesh_gives_the_same_gradient_with_the_same_noise(compiled, batch, present, trainable):
    sizes = base.get_base().mesh
    sizes.data = sizes.fsdp = sizes.tensor = 2
    mesh = meshes.make_mesh(sizes)
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        rows = jax.device_put((batch, present), meshes.row_sharding(mesh))
        cut = jax.jit(private).lower(0.1, trainable, *rows, 0.5).compile()
        gradient = cut(0.1, trainable, *rows, 0.5)[0]
    assert_close(gradient, jax.device_get(compiled(0.1, present, 0.5)[0]), rtol=1e-3, atol=1e-6)
    # Four devices have two rows each, and two share a row, against a loop of half the rows.
    assert cut.cost_analysis()["flops"] < 0.5 * compiled.flops


def nothing(trainable, row):
    return jnp.sum(row["x"]) * 0 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(trainable)), ()


def test_noise_is_normal_and_drawn_anew():
    shapes = {"a": (200, 100), "b": (30_000,), "c": (3, 50, 200)}
    trainable = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    rows, present = {"x": np.ones((2, 1), np.float32)}, np.array([True, False])
    noise = jax.jit(functools.partial(private, loss=nothing))
    draws = [np.concatenate([g.ravel() for g in jax.tree.leaves(noise(0.3, trainable, rows, present, 2.0, step=t)[0])])
             for t in range(4)]  # fmt: skip
    deviation = 2.0 * 0.3 / 4.0
    squares = sum(np.sum(draw.astype(float) ** 2) for draw in draws) / deviation**2
    low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], 4 * len(draws[0]))
    assert low < squares < high
    assert all(stats.kstest(draw / deviation, "norm").pvalue > 1e-3 for draw in draws)
    a, _, c = np.split(draws[0], np.cumsum([20_000, 30_000]))
    pairs = [(draws[0], draws[1]), (draws[2], draws[3]), (a, c[:20_000]), (a, draws[0][20_000:40_000])]
    assert all(abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(len(x)) for x, y in pairs)
    np.testing.assert_array_equal(draws[0], np.concatenate([
        g.ravel() for g in jax.tree.leaves(noise(0.3, trainable, rows, present, 2.0)[0])]))  # fmt: skip


def test_keys_are_cut_like_rows_and_rows_that_are_absent_may_be_nan():
    def loss(trainable, row):
        value = jnp.sum(trainable["w"] * jax.random.normal(row["key"][0], (3,))) / row["x"][0]
        return value, value

    keys = jax.random.split(jax.random.key(3), 4)
    batch = {"key": keys, "x": np.array([1.0, 0.0, 1.0, 1.0], np.float32)}
    present = np.array([True, False, True, True])
    gradient, value, metrics = private(1e3, {"w": jnp.ones(3)}, batch, present, 0.0, microbatches=2, loss=loss)
    drawn = np.stack([jax.random.normal(k, (3,)) for k in keys[np.flatnonzero(present)]])
    np.testing.assert_allclose(gradient["w"], drawn.sum(axis=0) / 4.0, rtol=1e-5)
    np.testing.assert_allclose(value, drawn.sum(), rtol=1e-5)
    assert metrics["clipped"] == 0


def test_a_step_without_rows_is_noise_alone():
    gradient, _, metrics = private(
        1.0, {"w": jnp.ones(3)}, {"x": np.ones((2, 1), np.float32)}, np.zeros(2, bool), 1.0,
        loss=lambda trainable, row: (jnp.sum(trainable["w"]), ()),
    )  # fmt: skip
    noise = private(1.0, {"w": jnp.ones(3)}, {"x": np.ones((2, 1), np.float32)}, np.zeros(2, bool), 1.0, loss=nothing)[
        0
    ]
    np.testing.assert_array_equal(gradient["w"], noise["w"])
    assert metrics["clipped"] == 0 and np.abs(gradient["w"]).min() > 0


def test_other_keys_are_refused():
    with pytest.raises(ValueError, match="threefry"):
        private_gradient(nothing, {}, {}, np.ones(2, bool), jax.random.key(0, impl="rbg"), clip_norm=1.0,
                         noise_multiplier=1.0, expected_size=1.0, microbatches=1)  # fmt: skip


def test_a_classifier_of_kept_features_learns_in_private():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 2).astype(np.int32)
    inputs = rng.normal(size=(400, 5)).astype(np.float32) + 2 * labels[:, None] - 1
    kept = FrozenFeatures({"features": inputs, "labels": labels, "label_weights": np.ones(400, np.float32)})
    drawing = Drawing(400, seed=0, batch_size=100, multiple=8)
    made = Batches([kept], drawing)

    def loss(trainable, row):
        margin = jnp.sum(row["features"] * trainable["w"]) * (2 * row["labels"][0] - 1)
        return jnp.logaddexp(0, -margin) * row["label_weights"][0], ()

    @jax.jit
    def step(trainable, rows, t):
        gradient, _, _ = private_gradient(
            loss, trainable, rows, rows["row_id"] >= 0, jax.random.fold_in(key(), t), clip_norm=1.0,
            noise_multiplier=2.0, expected_size=100, microbatches=1,
        )  # fmt: skip
        return jax.tree.map(lambda p, g: p - 2.0 * g, trainable, gradient)

    trainable = {"w": jnp.zeros(5)}
    for t in range(30):
        trainable = step(trainable, made.batches(t), t)
    assert np.mean((inputs @ trainable["w"] > 0) == labels) > 0.95
    assert 1 < epsilon(30, drawing.sampling_probability, 2.0, 1e-5) < 5


SETTINGS = [(1, 1.0, 1.0), (300, 0.02, 2.0), (100, 1.0, 5.0)]


@pytest.mark.parametrize(("steps", "probability", "multiplier"), SETTINGS)
def test_epsilon_is_that_of_dp_accounting(steps, probability, multiplier):
    event = dp_accounting.PoissonSampledDpEvent(probability, dp_accounting.GaussianDpEvent(multiplier))
    accountant = pld.PLDAccountant().compose(dp_accounting.SelfComposedDpEvent(event, steps))
    assert epsilon(steps, probability, multiplier, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-9)


@pytest.mark.parametrize(("steps", "multiplier"), [(1, 1.0), (100, 5.0), (50, 20.0)])
def test_epsilon_of_full_batches_lies_between_exact_and_zero_concentrated(steps, multiplier):
    """The exact one: Balle and Wang 2018, theorem 8, for one Gaussian of the composed deviation. The bound: Bun and
    Steinke 2016, proposition 1.3, of rho = steps / (2 multiplier^2)."""
    delta = 1e-5
    mu = math.sqrt(steps) / multiplier

    def excess(eps):
        return stats.norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * stats.norm.cdf(-mu / 2 - eps / mu) - delta

    exact, rho = optimize.brentq(excess, 0, 50), mu**2 / 2
    got = epsilon(steps, 1.0, multiplier, delta)
    assert exact - 1e-3 <= got <= exact * 1.01
    assert got <= rho + 2 * math.sqrt(rho * math.log(1 / delta))


def test_epsilon_grows_with_steps_and_falls_with_noise_and_sampling():
    base_case = epsilon(100, 0.05, 4.0, 1e-5)
    assert epsilon(200, 0.05, 4.0, 1e-5) > base_case
    assert epsilon(100, 0.05, 5.0, 1e-5) < base_case
    assert epsilon(100, 0.025, 4.0, 1e-5) < base_case
    assert epsilon(100, 0.05, 4.0, 1e-3) < base_case
    assert epsilon(0, 0.05, 1.0, 1e-5) == 0 and epsilon(1, 0.05, 0.0, 1e-5) == math.inf


@pytest.mark.parametrize(
    ("option", "value"),
    [("dp_clip_norm", -1.0), ("dp_clip_norm", math.inf), ("dp_clip_norm", math.nan), ("dp_noise_multiplier", -0.1),
     ("dp_noise_multiplier", math.nan), ("dp_delta", 0.0), ("dp_delta", 1.0)],
)  # fmt: skip
def test_options_that_guarantee_nothing_are_refused(option, value):
    config = base.get_base()
    config.finetune.dp_clip_norm = 1.0
    base.check(config)
    config.finetune[option] = value
    with pytest.raises(ConfigError, match=rf"finetune.{option}="):
        base.check(config)


def test_a_private_step_of_a_run_is_a_loop_over_its_examples(task_root):
    """The gradient that the optimizer sees: of each example that was drawn clipped, summed, over the expected size."""
    program = tiny_run.build(tiny_task.config(
        "bert", task_root, "last_layers", model__layers=1, finetune__dp_clip_norm=1.0,
        finetune__dp_noise_multiplier=0.0,
    ))  # fmt: skip
    state, rows = tiny_task.any_state(program), program.run.rows(program.run.data["train"], 0)
    drawn = np.flatnonzero(np.asarray(rows["row_id"]) >= 0)
    assert 0 < len(drawn) < len(rows["row_id"]) and len(drawn) != 8  # a binomial number, and filler

    def loss(trainable, row):
        outputs = program.model.apply({"params": program.split.merge(trainable, state.frozen)}, row)
        label_log_p = jax.nn.log_softmax(outputs.heads["class"])[0, row["labels"][0]]
        return -label_log_p

    with program.run.context():
        gradient = jax.jit(jax.grad(loss))
        one_row = ({name: np.asarray(array)[i : i + 1] for name, array in rows.items()} for i in drawn)
        found = [jax.device_get(gradient(state.trainable, row)) for row in one_row]
    lengths = np.array([math.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(one))) for one in found])
    clip_norm = float(np.median(lengths))
    wanted = jax.tree.map(
        lambda *g: sum(x * min(1, clip_norm / n) for x, n in zip(g, lengths, strict=True)) / 8, *found
    )

    keeps = optax.GradientTransformation(lambda params: params, lambda updates, state, params: (updates, updates))
    loss = Loss(program.model, program.run.objective, program.split)
    gradient = make_gradient(loss, 1, dataclasses.replace(program.run.privacy, clip_norm=clip_norm))
    step = functools.partial(
        train_step, gradient=gradient, objective=program.run.objective, optimizer=keeps, schedule=program.run.schedule
    )
    with program.run.context():
        new, metrics = jax.jit(step)(state.replace(opt_state=state.trainable), rows, program.run.keys)
    assert_close(new.opt_state, wanted, rtol=1e-3, atol=1e-6 * clip_norm)
    assert metrics["clipped"] == pytest.approx((lengths > clip_norm).mean(), abs=1.01 / len(drawn))
    assert metrics["grad_norm"] == pytest.approx(
        math.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(wanted))), rel=1e-3
    )


def test_a_private_probe_tells_what_it_has_given_away(task_root, tmp_path):
    program = tiny_run.build(tiny_task.config(
        "bert", task_root, "linear_probe", finetune__dp_clip_norm=1.0, finetune__dp_noise_multiplier=0.7,
        finetune__feature_norm="unit", train__steps=2, train__eval_every=1,
    ))  # fmt: skip
    program, state = with_features(program, tiny_task.any_state(program), True, lambda line: None)
    assert program.run.data["train"].size(0) > 8 and "features" in program.run.data["train"].batches(0)
    before = tiny_task.parameters(program, state)
    checkpoints, writer = Checkpoints(tmp_path / "checkpoints"), MetricWriter(tmp_path, 0)
    _, state = fit(
        program, state, start=0, checkpoints=checkpoints, writer=writer, progress=Progress(1e12, 2), facts={},
        report=lambda line: None,
    )  # fmt: skip
    writer.close()
    checkpoints.close()
    after = tiny_task.parameters(program, state)
    assert {n for n in after if (before[n] != after[n]).any()} == {"classifier/kernel", "classifier/bias"}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = [line["epsilon"] for line in lines if line["split"] == "validation"]
    assert told == pytest.approx([epsilon(step, 8 / 40, 0.7, 1e-5) for step in (1, 2)])
