"""A solved probe is scikit-learn's own on the same features, and a run like any other."""

import functools
import json
import math

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cloze.errors import ConfigError, DivergedError
from cloze.training import features, probe
from cloze.training.checkpoint import Checkpoints
from tests.training import finetuned, tiny_run, tiny_task
from tests.verbs import run

PENALTIES = (0.3, 0.01)


class Lines(list):
    """A writer of metrics that keeps them."""

    def write(self, step, split, values):
        self.append((step, split, values))


def build(root, family="bert", kind="class", **changes):
    if kind != "class":
        tiny_task.write(root / kind, kind)
        changes |= dict(task__name=f"jsonl:{kind}", task__files=str(root / kind))
    changes = dict(finetune__solver="lbfgs", train__eval_batches=100) | changes
    return tiny_run.build(tiny_task.config(family, root, "linear_probe", **changes))


def solve(program, directory, told=None):
    """(program on kept features, the solved state, metrics as written)."""
    told = [] if told is None else told
    kept, state = features.with_features(program, tiny_task.any_state(program), True, told.append)
    lines, checkpoints = Lines(), Checkpoints(directory / "checkpoints")
    facts = kept.run.facts()
    state = probe.solve(kept, state, checkpoints=checkpoints, writer=lines, facts=facts, report=told.append)
    return kept, state, lines


def points(labels, dtype=np.int32):
    """Features of unlike sizes far from 0, one of which never changes; labels that they half explain; weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) * np.logspace(-1, 1, 5) + np.arange(5)
    x[:, 2] = 7.0
    found = labels((x - x.mean(axis=0)) @ rng.normal(size=5) + rng.normal(size=60))
    return x.astype(np.float32), found.astype(dtype), rng.uniform(0.5, 2.0, 60).astype(np.float32)


def oracle(model, x, labels, weights, has_bias):
    name = type(model).__name__.lower()
    pipeline = make_pipeline(StandardScaler(with_mean=has_bias), model)
    return pipeline.fit(x.astype(np.float64), labels, **{f"{name}__sample_weight": weights})


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("labels", [2, 3])
def test_classifiers_equal_scikit_learn(labels, has_bias):
    x, y, weights = points(lambda t: np.digitize(t, [0.0, 4.0][: labels - 1]))
    found = probe.solutions(x.copy(), y, weights, PENALTIES, num_labels=labels, has_bias=has_bias)
    for penalty, kernel, bias, iterations in found:
        exact = LogisticRegression(
            C=1 / (penalty * weights.sum()), solver="newton-cg", tol=1e-10, fit_intercept=has_bias
        )  # fmt: skip
        wanted = oracle(exact, x, y, weights, has_bias).predict_proba(x)
        got = jax.nn.softmax(x @ kernel + (0 if bias is None else bias), axis=-1)
        np.testing.assert_allclose(got, wanted, atol=2e-3)
        assert kernel.shape == (5, labels) and (bias is not None) == has_bias and iterations > 1


@pytest.mark.parametrize("has_bias", [True, False])
def test_regressions_equal_scikit_learn(has_bias):
    x, y, weights = points(lambda t: t + 5, np.float32)
    for penalty, kernel, bias, _ in probe.solutions(x.copy(), y, weights, PENALTIES, num_labels=1, has_bias=has_bias):
        exact = Ridge(alpha=penalty * weights.sum() / 2, fit_intercept=has_bias)
        got = (x @ kernel + (0 if bias is None else bias))[:, 0]
        np.testing.assert_allclose(got, oracle(exact, x, y, weights, has_bias).predict(x), rtol=1e-3, atol=1e-3)


def test_a_label_without_examples_is_never_chosen():
    x, y, weights = points(lambda t: np.where(t > 0, 3, 1))
    (_, kernel, bias, _), *_ = probe.solutions(x.copy(), y, weights, PENALTIES, num_labels=5, has_bias=True)
    assert set((x @ kernel + bias).argmax(axis=-1)) == {1, 3}
    for _, kernel, bias, _ in probe.solutions(x.copy(), y * 0 + 2, weights, PENALTIES, num_labels=5, has_bias=True):
        assert set((x @ kernel + bias).argmax(axis=-1)) == {2}


@pytest.mark.parametrize("kind, changes", [
    ("class", dict(model__pooling="mean", finetune__feature_norm="unit", finetune__feature_size=9)),
    ("tag", {}),
])  # fmt: skip
def test_the_run_has_scikit_learns_head(kind, changes, task_root, tmp_path):
    """On the states that the model computes of the examples, transformed as its head reads them."""
    program = build(task_root, kind=kind, finetune__penalties=(0.01,), **changes)
    assert probe.is_solved(program, None)
    kept, state, _ = solve(program, tmp_path)
    params = program.full_parameters(state)
    x, y, scores = [], [], []
    apply = jax.jit(program.model.apply)
    with program.run.context():
        for step in range(5):
            rows = program.run.rows(program.run.data["train"], step)
            outputs = apply({"params": params}, rows)
            labelled = np.asarray(rows["label_weights"]) > 0
            read = outputs.features if kind == "tag" else outputs.pooled
            x.append(np.asarray(read)[labelled])
            y.append(np.asarray(rows["labels"])[labelled])
            scores.append(np.asarray(outputs.heads[kind])[labelled])
    x, y, scores = (np.concatenate(some) for some in (x, y, scores))
    if kind == "class":
        assert len(y) == tiny_task.COUNTS["train"]
    exact = LogisticRegression(C=1 / (0.01 * len(y)), solver="newton-cg", tol=1e-8)
    wanted = oracle(exact, x, y, np.ones(len(y)), True)
    np.testing.assert_allclose(jax.nn.softmax(scores), wanted.predict_proba(x), atol=5e-3)
    for name, leaf in tiny_task.parameters(kept, state).items():  # and nothing else has changed
        if not name.startswith(("classifier/", "tagger/", "feature_transform/")):
            np.testing.assert_array_equal(leaf, tiny_task.parameters(program, tiny_task.any_state(program))[name])


def test_validation_chooses_the_penalty(task_root, tmp_path):
    """The loss of the best is the lowest of those that each has alone; it is what is written and saved."""
    told, losses = [], {}
    for penalty in (1.0, 0.1, 0.001):
        program = build(task_root, finetune__penalties=(penalty,))
        kept, state, _ = solve(program, tmp_path / str(penalty), told)
        losses[penalty] = tiny_run.validate(kept, state)["loss"]
    assert "edge" not in told[-1]
    program = build(task_root, finetune__penalties=(0.1, 1.0, 0.001))
    kept, state, lines = solve(program, tmp_path, told)
    (step, train, how), (_, validation, values) = lines
    best = min(losses, key=losses.get)
    assert (step, train, validation, how["penalty"]) == (6, "train", "validation", best)
    assert values["loss"] == pytest.approx(losses[best], rel=1e-2)
    assert values == pytest.approx(tiny_run.validate(program, state), rel=1e-4)
    assert told[-1].startswith(f"The best penalty is {best:g}") and ("edge" in told[-1]) == (best != 0.1)
    saved = Checkpoints(tmp_path / "checkpoints")
    assert saved.steps() == [6] and not saved.has("optimizer", 6)
    again = program.restore(saved, 6)
    assert again.step == 6
    for name, leaf in tiny_task.parameters(program, again).items():
        np.testing.assert_array_equal(leaf, tiny_task.parameters(kept, state)[name])


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_layer_below_the_top_is_read(family, task_root, tmp_path):
    """The layers above are left out of the model, and the rest is what the run that it begins with has."""
    if family == "t5":
        program = build(task_root, "t5", finetune__feature_layer=1)
        assert program.run.shapes["decoder/layers/ffn/up/kernel"][0] == 1
        assert program.run.shapes["encoder/layers/ffn/up/kernel"][0] == 2
        return
    origin = finetuned.pretrained(task_root, tmp_path / "origin")
    whole = finetuned.build(task_root, origin, "linear_probe")
    cut = finetuned.build(task_root, origin, "linear_probe", finetune__feature_layer=1)
    assert cut.run.shapes["encoder/layers/ffn/up/kernel"][0] == 1
    states = [program.full_parameters(program.new_state(finetuned.quiet)) for program in (whole, cut)]
    with whole.run.context():
        rows = whole.run.rows(whole.run.data["train"], 0)
        collect = jax.jit(functools.partial(whole.model.apply, collect=True))
        between = collect({"params": states[0]}, rows).hidden_states
        found = jax.jit(cut.model.apply)({"params": states[1]}, rows).features
    np.testing.assert_allclose(found, between[1][:, 0], rtol=1e-4, atol=1e-5)
    assert np.abs(found - between[2][:, 0]).max() > 1e-3


REASONS = [
    ("span", {}, "task.kind=span is none of class, regression, tag"),
    ("class", dict(finetune__cache_features=False), "finetune.cache_features=False"),
    ("class", dict(finetune__also=("encoder/layers/1/ffn/up/bias",)), "trains (finetune.also)"),
    ("class", dict(task__batching="pack"), "packed rows hold several examples"),
    ("class", dict(train__ema_decay=0.9), "no steps to average over (train.ema_decay)"),
    ("class", dict(objective__label_smoothing=0.1), "objective.label_smoothing"),
    ("class", dict(finetune__dp_clip_norm=1.0), "finetune.dp_clip_norm"),
    ("class", dict(model__head_transform=True), "head_transform/dense/bias trains beside the linear layer"),
    ("class", dict(model__classifier_bias=False, task__limit=1), "some label has no training example"),
]


@pytest.mark.parametrize("kind, changes, reason", REASONS)
def test_what_cannot_be_solved_is_refused_or_trained_in_steps(kind, changes, reason, task_root):
    program = build(task_root, kind=kind, **changes)
    with pytest.raises(ConfigError) as raised:
        probe.is_solved(program, None)
    assert reason in str(raised.value) and "set it to steps" in str(raised.value)
    told = []
    assert not probe.is_solved(build(task_root, kind=kind, finetune__solver="auto", **changes), told.append)
    assert len(told) == 1 and reason in told[0]
    assert not probe.is_solved(build(task_root, kind=kind, finetune__solver="steps", **changes), told.append)
    assert len(told) == 1


def test_features_that_memory_cannot_hold_are_not_solved(task_root, monkeypatch):
    monkeypatch.setattr(probe, "LARGEST", 40 * 4 * 32 - 1)
    with pytest.raises(ConfigError, match="training features would take 0 GiB of memory"):
        probe.is_solved(build(task_root), None)


@pytest.mark.parametrize("family, changes, message", [
    ("bert", dict(finetune__penalties=()), "finetune.penalties=.. leaves nothing to choose from"),
    ("bert", dict(finetune__penalties=(0.1, 0.0)), "finetune.penalties=.* must be more than 0"),
    ("bert", dict(finetune__solver="newton"), "finetune.solver='newton' is not one of auto, lbfgs, steps"),
    ("bert", dict(finetune__feature_layer=3), "finetune.feature_layer=3 exceeds model.layers=2"),
    ("t5", dict(finetune__feature_layer=3), "finetune.feature_layer=3 exceeds model.decoder_layers=2"),
    ("t5", dict(finetune__feature_layer=1, model__shared_stacks=True), "needs a transformer with a last stack of its"),
])  # fmt: skip
def test_bad_options_are_explained(family, changes, message, task_root):
    with pytest.raises(ConfigError, match=message):
        build(task_root, family, **changes)


def test_states_that_are_not_finite_are_told(task_root, tmp_path):
    program = build(task_root, data__cache_dir=str(tmp_path))
    state = tiny_task.any_state(program)
    state.frozen["encoder"]["layers"]["ffn"]["up"]["bias"] *= math.inf
    kept, state = features.with_features(program, state, True, lambda line: None)
    with pytest.raises(DivergedError, match="not finite: choose another init.checkpoint"):
        probe.solve(kept, state, checkpoints=None, writer=None, facts={}, report=lambda line: None)


def test_a_solved_run_is_a_run(task_root, tmp_path):
    """train.py says that it is finished when it comes again, and eval.py scores what validation did."""
    arguments = [
        "--config=configs/finetune/classify.py:tiny,task=jsonl:class,method=linear_probe", f"--workdir={tmp_path}/run",
    ]  # fmt: skip
    settings = dict(
        task__files=task_root / "task", data__source=f"text:{task_root}/text/*.txt", data__cache_dir=tmp_path,
        data__sequence_length=32, model__layers=1, model__width=32, model__heads=2, model__ffn=32,
        model__vocab_size=256, tokenizer__vocab_size=256, train__compile_cache="", init__inherit=False,
        train__batch_size=8,
    )  # fmt: skip
    done = run("train", *arguments, **settings)
    assert done.returncode == 0 and "The head is solved, not trained in steps" in done.stdout, done.stderr
    assert "The best penalty is" in done.stdout and "Compiled the step" not in done.stdout
    again = run("train", *arguments, **settings)
    assert again.returncode == 0 and "The run is finished: 10 of 10 steps" in again.stdout, again.stderr
    output = tmp_path / "scores.json"
    scored = run("eval", f"--workdir={tmp_path}/run", "--task=jsonl:class", f"--output={output}")
    assert scored.returncode == 0, scored.stderr
    (lines,) = json.loads(output.read_text()).values()
    *_, last = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert (last["step"], last["split"]) == (10, "validation")
    assert lines["accuracy"] == pytest.approx(last["accuracy"])
