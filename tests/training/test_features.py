"""Kept features: each where its example is, computed once. Their transformation against scikit-learn's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from sklearn.decomposition import PCA
from sklearn.preprocessing import Normalizer, StandardScaler

from cloze import models
from cloze.data.batches import Batches
from cloze.data.order import Epochs
from cloze.errors import ConfigError, DataError
from cloze.models import names
from cloze.models.features import FeatureTransform
from cloze.training import features
from tests.models import tiny
from tests.training import tiny_run, tiny_task

COUNT, SIZE = 11, 4


def batches(shape=(3,), order=None, label_shape=(), seed=0):
    """Batches of all examples and filler; the features to come are twice the inputs."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(COUNT, *shape)).astype(np.float32)
    labels = rng.integers(0, 5, (COUNT, *label_shape)).astype(np.int32)
    order = np.arange(COUNT) if order is None else order
    made = []
    for ids in np.pad(order, (0, -COUNT % SIZE), constant_values=-1).reshape(-1, SIZE):
        present = (ids >= 0).astype(np.float32)
        made.append({"x": inputs[ids], "labels": labels[ids], "label_weights": present, "row_id": ids.astype(np.int32)})
    return made, inputs, labels


@jax.jit
def double(batch):
    return (2 * batch["x"]).astype(jnp.float32)


def compute(directory, made, function=double, count=COUNT):
    return features.compute(function, made, count, directory, lambda line: None)


@pytest.mark.parametrize("shape", [(3,), (5, 3)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_feature_is_where_its_example_is(shape, shuffled, tmp_path):
    order = np.random.default_rng(1).permutation(COUNT) if shuffled else None
    made, inputs, labels = batches(shape, order, label_shape=(2,))
    kept = compute(tmp_path / "kept", made)
    np.testing.assert_array_equal(kept.features, 2 * inputs)
    indices = np.array([3, 10, 3])
    rows = kept.rows(indices, np.array([0, 0, 1]))
    np.testing.assert_array_equal(rows["features"], 2 * inputs[indices])
    np.testing.assert_array_equal(rows["labels"], labels[indices])
    np.testing.assert_array_equal(rows["label_weights"], 1)
    assert rows["row_id"].tolist() == [3, 10, 3] and rows["epoch"].tolist() == [0, 0, 1]
    assert rows["features"].dtype == np.float32 and rows["labels"].dtype == np.int32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.lock"]


def test_packed_rows(tmp_path):
    made, inputs, labels = batches()
    packed = [{name: array.reshape(2, 2, *array.shape[1:]) for name, array in batch.items()} for batch in made]
    kept = compute(tmp_path / "kept", packed)
    np.testing.assert_array_equal(kept.features, 2 * inputs)
    np.testing.assert_array_equal(kept.rows(np.arange(COUNT), np.zeros(COUNT))["labels"], labels)


def test_features_are_computed_once_and_checked(tmp_path):
    made, inputs, _ = batches()
    compute(tmp_path / "kept", made)

    def refuse(batch):
        raise AssertionError("computed twice")

    np.testing.assert_array_equal(compute(tmp_path / "kept", made, refuse).features, 2 * inputs)
    file = tmp_path / "kept" / "features.npy"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(DataError, match="has changed since it was written"):
        compute(tmp_path / "kept", made)


def test_an_interrupted_computation_leaves_nothing_that_counts(tmp_path):
    made, inputs, _ = batches()

    def fail(batch):
        if (batch["row_id"] == 4).any():
            raise KeyboardInterrupt
        return double(batch)

    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / "kept", made, fail)
    np.testing.assert_array_equal(compute(tmp_path / "kept", made).features, 2 * inputs)


def test_features_feed_batches(tmp_path):
    made, inputs, labels = batches()
    kept = compute(tmp_path / "kept", made)
    epoch = Batches([kept], Epochs([COUNT], [1.0], seed=0, size=COUNT, shuffle=True)).batches(1)
    assert sorted(epoch["row_id"]) == list(range(COUNT)) and (epoch["epoch"] == 1).all()
    np.testing.assert_array_equal(epoch["features"], 2 * inputs[epoch["row_id"]])
    np.testing.assert_array_equal(epoch["labels"], labels[epoch["row_id"]])


def test_what_does_not_fit_is_refused(tmp_path):
    made, _, _ = batches((5, 3))
    with pytest.raises(ValueError, match="4 of 11 examples are in no batch, the first is 4"):
        compute(tmp_path / "missing", [made[0], made[2]])
    shorter = {**made[1], "x": made[1]["x"][:, :2]}
    with pytest.raises(ConfigError, match="task.batching=pad"):
        compute(tmp_path / "ragged", [made[0], shorter, made[2]])


@pytest.fixture(scope="module")
def states():
    """Correlated features of unlike sizes far from 0, one of which never changes."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) * np.logspace(-1, 1, 6) + np.arange(6) * 10
    made[:, 2] = 7.0
    return made.astype(np.float32)


def transformed(states, norm, size):
    config = tiny.config("bert", feature_norm=norm, feature_size=size)
    module = FeatureTransform(config)
    params = features.fit(states, norm, size)
    shapes = jax.eval_shape(lambda: meta.unbox(module.init(jax.random.key(0), states)))["params"]
    assert {k: v.shape for k, v in params.items()} == {k: v.shape for k, v in shapes.items()}
    return np.asarray(module.apply({"params": params}, states))


def normalised(states, norm):
    known = {"standard": StandardScaler(), "unit": Normalizer()}
    return known[norm].fit_transform(states.astype(np.float64)) if norm in known else states.astype(np.float64)


@pytest.mark.parametrize("norm", ["none", "standard", "unit"])
def test_norms_equal_scikit_learn(norm, states):
    np.testing.assert_allclose(transformed(states, norm, 0), normalised(states, norm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "standard", "unit"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_projections_equal_scikit_learn_up_to_sign(norm, size, states):
    wanted = PCA(size, svd_solver="full").fit_transform(normalised(states, norm))
    got = transformed(states, norm, size)
    signs = np.sign(np.sum(got * wanted, axis=0))
    np.testing.assert_allclose(got * signs, wanted, atol=2e-3 * np.abs(wanted).max(axis=0).min())


def test_more_components_than_there_are_is_refused(states):
    for some, size in ((states, 7), (states[:3], 4)):
        with pytest.raises(ConfigError, match=f"finetune.feature_size={size} exceeds"):
            features.fit(some, "none", size)


def test_a_state_of_zeros_stays():
    config = tiny.config("bert", feature_norm="unit")
    module = FeatureTransform(config)
    params = module.init(jax.random.key(0), jnp.zeros((1, 4)))
    value, gradient = jax.value_and_grad(lambda x: module.apply(params, x).sum())(jnp.zeros((1, 4)))
    assert value == 0 and np.isfinite(gradient).all()


def test_a_classifier_reads_transformed_states_instead_of_the_pooler():
    norm = dict(heads_out=("class",), feature_norm="standard", feature_size=5, layers=1)
    params = dict(tiny.parameters("bert", **norm))
    assert "pooler" not in params and params["classifier"]["kernel"].shape == (5, 2)
    outputs = tiny.apply("bert", tiny.batch("bert"), params, **norm)
    t = params["feature_transform"]
    projected = (outputs.features - t["mean"]) * t["scale"] @ t["components"]
    np.testing.assert_allclose(outputs.pooled, projected, rtol=1e-4, atol=1e-4)
    logits = projected @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    np.testing.assert_allclose(outputs.heads["class"], logits, rtol=1e-4, atol=1e-4)
    again = tiny.apply("bert", {"features": np.asarray(outputs.features)}, params, **norm)
    np.testing.assert_allclose(again.heads["class"], outputs.heads["class"], rtol=1e-5, atol=1e-5)


def test_options_of_the_model_are_checked():
    with pytest.raises(ConfigError, match="model.feature_norm='l2' is not one of none, standard, unit"):
        tiny.config("bert", feature_norm="l2")
    with pytest.raises(ConfigError, match="model.feature_size=-1 must be at least 0"):
        tiny.config("bert", feature_size=-1)
    assert models.features.has_transform(tiny.config("bert", feature_size=3))
    assert not models.features.has_transform(tiny.config("bert"))


def probe(root, family="bert", kind="class", **changes):
    if kind != "class":
        tiny_task.write(root / kind, kind)
        changes |= dict(task__name=f"jsonl:{kind}", task__files=str(root / kind))
    return tiny_run.build(tiny_task.config(family, root, "linear_probe", **changes))


def keep(program, state, fresh=True, told=None):
    return features.with_features(program, state, fresh, (told if told is not None else []).append)


def test_a_probe_on_kept_features_is_the_probe(task_root):
    """Step by step the same examples, losses and parameters; validation and the metrics of the task, too."""
    plain = probe(task_root, task__limit=20, optimizer__weight_decay=0.1)
    told = []
    kept, state = keep(plain, tiny_task.any_state(plain), told=told)
    assert told == ["computing the features of 20 examples", "computing the features of 12 examples"]
    assert kept.run.data["train"].steps_per_epoch == plain.run.data["train"].steps_per_epoch == 20 / 8
    used = plain.run.data["train"].features.used
    for step in range(6):
        rows = kept.run.data["train"].batches(step)
        np.testing.assert_array_equal(used[rows["row_id"]], plain.run.data["train"].batches(step)["row_id"])
        np.testing.assert_array_equal(rows["labels"], plain.run.data["train"].batches(step)["labels"])
        assert "tokens" not in rows
    end, history = tiny_run.run(kept, 6, state)
    other, wanted = tiny_run.run(plain, 6, tiny_task.any_state(plain))
    for mine, theirs in zip(history, wanted, strict=True):
        for name in ("loss", "accuracy", "grad_norm", "learning_rate"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6), name
    for name, array in tiny_task.parameters(plain, other).items():
        np.testing.assert_allclose(tiny_task.parameters(kept, end)[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
    mine, theirs = tiny_run.validate(kept, end), tiny_run.validate(plain, other)
    assert {"loss", "class", "accuracy", "f1_macro"} <= set(mine)
    assert mine == pytest.approx(theirs, rel=1e-5)
    told.clear()
    keep(plain, tiny_task.any_state(plain), told=told)
    assert not told  # they are there
    keep(plain, tiny_task.any_state(plain, seed=1), told=told)
    assert told  # of another body they are others


@pytest.mark.parametrize("family, kind", [("bert", "tag"), ("bert", "span"), ("bert", "choice"), ("t5", "class")])
def test_kept_features_of_other_kinds_score_the_same(family, kind, task_root):
    plain = probe(task_root, family, kind, data__sequence_length=24)
    state = tiny_task.any_state(plain)
    kept, _ = keep(plain, state)
    mine, theirs = tiny_run.validate(kept, state), tiny_run.validate(plain, state)
    assert theirs[kind] > 0.1 and mine == pytest.approx(theirs, rel=1e-5, nan_ok=True)
    rows = kept.run.data["train"].batches(0)
    if kind != "choice":
        np.testing.assert_array_equal(rows["labels"], plain.run.data["train"].batches(0)["labels"])
        np.testing.assert_array_equal(rows["label_weights"], plain.run.data["train"].batches(0)["label_weights"])


@pytest.mark.parametrize("norm, size", [("standard", 0), ("none", 3), ("unit", 3)])
def test_what_is_fitted_on_the_training_examples_is_in_the_state(norm, size, task_root):
    program = probe(task_root, finetune__feature_norm=norm, finetune__feature_size=size)
    state = tiny_task.any_state(program)
    kept, fitted = keep(program, state)
    states = np.asarray(kept.run.data["train"].reader.sources[0].features)
    assert states.shape == (tiny_task.COUNTS["train"], 32)
    wanted = features.fit(states, norm, size)
    assert {f"feature_transform/{name}" for name in wanted} == {
        name for name in names.flatten(fitted.frozen) if name.startswith("feature_transform/")
    }
    for name, array in wanted.items():
        np.testing.assert_array_equal(fitted.frozen["feature_transform"][name], array)
    outputs = program.model.apply({"params": program.full_parameters(fitted)}, {"features": states})
    plain = normalised(states, norm)
    if size:
        oracle = PCA(size, svd_solver="full").fit_transform(plain)
        np.testing.assert_allclose(np.abs(outputs.pooled), np.abs(oracle), rtol=1e-2, atol=1e-3)
    else:
        np.testing.assert_allclose(outputs.pooled, plain, rtol=1e-3, atol=1e-4)
    for name, leaf in names.flatten(state.frozen).items():  # and nothing else has changed
        if not name.startswith("feature_transform/"):
            np.testing.assert_array_equal(names.flatten(fitted.frozen)[name], leaf)
    _, resumed = keep(program, fitted.replace(step=jnp.int32(3)), fresh=False)
    assert resumed.frozen is fitted.frozen or jax.tree.all(
        jax.tree.map(lambda a, b: bool((a == b).all()), resumed.frozen, fitted.frozen)
    )


def test_validation_is_transformed_by_what_training_examples_gave(task_root):
    program = probe(task_root, finetune__feature_norm="standard", finetune__feature_size=3)
    kept, fitted = keep(program, tiny_task.any_state(program))
    assert tiny_run.validate(kept, fitted) == pytest.approx(tiny_run.validate(program, fitted), rel=1e-4)


@pytest.mark.parametrize("changes, reason", [
    (dict(finetune__cache_features=False), "finetune.cache_features=False"),
    (dict(task__batching="pack"), "packed rows hold several examples; set task.batching=buckets"),
    (dict(finetune__also=(r"encoder/layers/1/ffn/up/bias",)), r"encoder/layers/ffn/up/bias trains \(finetune.also\)"),
])  # fmt: skip
def test_why_features_are_not_kept_is_told(changes, reason, task_root):
    program, told = probe(task_root, **changes), []
    same, _ = keep(program, None, told=told)
    assert same is program and re.fullmatch(f"Features are not kept: {reason}", told[0])
    fitting = probe(task_root, finetune__feature_norm="standard", **changes)
    with pytest.raises(ConfigError, match=f"are fitted on kept features, but {reason}"):
        keep(fitting, None)
