"""Averages of parameters: moving ones beside a run, means over its checkpoints, and runs that branch off from one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import branching, restore
from cloze.training.checkpoint import Checkpoints
from cloze.training.loop import Progress, fit
from cloze.training.metrics import NoWriter
from cloze.training.retention import Retention
from tests.training import finetuned, tiny_run, tiny_task

DECAY, STEPS = 0.8, 4


def quiet(line):
    pass


def assert_same(tree, other):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def train(program, workdir, start=0):
    """Runs the loop, which saves every step."""
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(10))
    state = program.restore(checkpoints, start, quiet) if start else program.new_state(quiet)
    _, state = fit(
        program, state, start=start, checkpoints=checkpoints, writer=NoWriter(), progress=Progress(1e12, STEPS),
        facts=program.run.facts(), report=quiet,
    )  # fmt: skip
    checkpoints.close()
    return state


@pytest.fixture(scope="module")
def averaged(root, tmp_path_factory):
    """(program, workdir, last state) of a run that keeps averages of all but its bottom layer."""
    workdir = tmp_path_factory.mktemp("averaged") / "run"
    workdir.mkdir()
    config = tiny_run.config(
        "gpt2", root, train__ema_decay=DECAY, train__steps=STEPS, checkpoint__every=1, model__dropout=0.1,
        trainable=((r"decoder/layers/0/.*", False), (r".*", True)),
    )  # fmt: skip
    program = tiny_run.build(config)
    (workdir / "config.json").write_text(json.dumps(base.to_dict(program.run.config)))
    program.run.tokenizer.save(workdir / "tokenizer")
    return program, workdir, train(program, workdir)


def held(workdir, step, part="params"):
    checkpoints = Checkpoints(workdir / "checkpoints")
    tree = checkpoints.saved(step, part)
    checkpoints.close()
    return tree


def test_the_average_is_that_of_the_parameters_after_each_step(averaged):
    program, workdir, state = averaged
    expected = jax.device_get(program.new_state(quiet).trainable)
    for step in range(1, STEPS + 1):
        params, _ = program.split(held(workdir, step))
        expected = jax.tree.map(lambda e, p: DECAY * e + (1 - DECAY) * p, expected, params)
    assert jax.tree.structure(state.ema) == jax.tree.structure(state.trainable)  # of what trains alone
    for a, b in zip(jax.tree.leaves(state.ema), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert_same(held(workdir, STEPS, "ema"), state.ema)


def test_a_resumed_run_keeps_its_average_to_the_bit(averaged, tmp_path):
    program, workdir, state = averaged
    branching.branch(workdir, 2, tmp_path / "run", quiet)
    assert (tmp_path / "run" / "config.json").read_text() == (workdir / "config.json").read_text()
    assert_same(train(program, tmp_path / "run", start=2), state)


def test_it_is_loaded_on_request_beside_what_is_frozen(averaged):
    program, workdir, state = averaged
    assert_same(restore.load(workdir, quiet).params, program.full_parameters(state))
    assert_same(restore.load(workdir, quiet, ema=True).params, program.split.merge(state.ema, state.frozen))


def test_a_checkpoint_without_an_average_is_where_one_begins_and_gives_none(averaged, tmp_path):
    program, workdir, _ = averaged
    branching.average(workdir, [3, 4], tmp_path / "mean", quiet)  # which holds parameters alone
    checkpoints = Checkpoints(tmp_path / "mean" / "checkpoints")
    state = program.restore(checkpoints, 4, quiet)
    checkpoints.close()
    assert_same(state.ema, state.trainable)
    with pytest.raises(ConfigError, match="keeps no moving averages: train with train.ema_decay"):
        restore.load(tmp_path / "mean", quiet, ema=True)


def test_a_mean_over_checkpoints(averaged, tmp_path):
    _, workdir, _ = averaged
    branching.average(workdir, [2, 3, 4], tmp_path / "mean", quiet)
    trained = restore.load(tmp_path / "mean", quiet)
    found = names.flatten(trained.params)
    several = [names.flatten(held(workdir, step)) for step in (2, 3, 4)]
    for name, array in found.items():
        np.testing.assert_allclose(array, np.mean([one[name] for one in several], axis=0), rtol=1e-5, atol=1e-7)
    assert trained.step == 4
    with pytest.raises(ConfigError, match=r"no whole checkpoint of step 9 \(there is none\); its checkpoints: 1, 2, 3"):
        branching.average(workdir, [2, 9], tmp_path / "other", quiet)


def test_what_thaws_begins_its_average_as_it_is(task_root):
    program = tiny_run.build(
        tiny_task.config("bert", task_root, "gradual", finetune__unfreeze_every=2, train__ema_decay=DECAY)
    )
    state = program.new_state(quiet)
    state = state.replace(ema=jax.tree.map(lambda leaf: leaf + 1.0, state.ema))
    before = names.flatten(jax.device_get(state.ema))
    frozen = names.flatten(jax.device_get(state.frozen))
    new, moved = program.enter(1, state)
    for name, array in names.flatten(moved.ema).items():
        if name in before:  # the heads
            np.testing.assert_array_equal(array, before[name], err_msg=name)
        else:  # the top layer
            np.testing.assert_array_equal(array, frozen[name][-1:], err_msg=name)


def test_means_of_small_checkpoints_are_of_what_trains(root, tmp_path):
    origin = finetuned.pretrained(root, tmp_path / "base")
    program, state, workdir = finetuned.finetuned(root, origin, tmp_path / "lora", "lora")
    other = state.replace(trainable=jax.tree.map(lambda leaf: leaf + 2.0, state.trainable), step=jnp.int32(4))
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(5))
    checkpoints.save(4, other.trainable, None, {**program.run.facts(), "data": None, "stage": 0})
    checkpoints.close()
    branching.average(workdir, [3, 4], tmp_path / "mean", quiet)
    for a, b in zip(jax.tree.leaves(held(tmp_path / "mean", 4)), jax.tree.leaves(state.trainable), strict=True):
        np.testing.assert_allclose(a, b + 1.0, rtol=1e-6)
    restore.load(tmp_path / "mean", quiet)  # the rest is found
