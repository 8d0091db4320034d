"""Runs of several stages through the loop: what thaws when, what it takes along, and resumes to the bit."""

import json
import re

import jax
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models import names
from cloze.training.checkpoint import Checkpoints
from cloze.training.features import with_features
from cloze.training.loop import Plateau, Progress, fit
from cloze.training.metrics import MetricWriter
from cloze.training.program import Program
from cloze.training.retention import Retention
from cloze.training.validation import Validator
from tests.training import tiny_run, tiny_task

HEAD = r"(pooler|classifier)/.*"
ADDED = [HEAD, r"encoder/layers/1/.*", r"encoder/layers/0/.*", r"(token|encoder_embeddings)/.*"]


def build(root, method, steps, **changes):
    """A gradual or two-stage run of a BERT of two layers, that saves every step."""
    settings = dict(
        train__steps=steps, checkpoint__every=1, checkpoint__keep=20, model__dropout=0.1, train__eval_batches=1,
    )  # fmt: skip
    if method == "gradual":
        settings["finetune__unfreeze_every"] = 2
    return tiny_run.build(tiny_task.config("bert", root, method, **settings | changes))


def train(program, workdir, start=0):
    """Runs the loop as train.py does, from its checkpoint after `start` steps; (program, state, lines told)."""
    workdir.mkdir(exist_ok=True)
    checkpoints, seal, lines = Checkpoints(workdir / "checkpoints", Retention(20)), None, []
    if start:
        seal = checkpoints.read_seal(start)
        program = program.run.program(seal["stage"])
        state = program.restore(checkpoints, start, lines.append)
    else:
        state = tiny_task.any_state(program)
    writer = MetricWriter(workdir, start)
    try:
        program, state = fit(
            program, state, start=start, checkpoints=checkpoints, writer=writer,
            progress=Progress(1e12, program.run.durations["steps"]), facts={}, report=lines.append,
            seal=seal,
        )  # fmt: skip
    finally:
        writer.close()
        checkpoints.close()
    return program, state, lines


def copy(workdir, target, step):
    """The directory of a run that was killed after a checkpoint."""
    target.mkdir()
    (target / "checkpoints").mkdir()
    (target / "checkpoints" / str(step)).symlink_to(workdir / "checkpoints" / str(step))
    return target


def assert_same(state, other):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def restored(program, workdir, step):
    """(the program in the stage after a step, the state)."""
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(20))
    program = program.run.program(checkpoints.read_seal(step)["stage"])
    state = program.restore(checkpoints, step, lambda line: None)
    checkpoints.close()
    return program, state


class Kept(dict):
    def clear(self):
        """Nothing: runs that repeat a part of another one shall not compile again."""


@pytest.fixture(scope="module", autouse=True)
def shared_steps():
    """Runs of a method share the compiled steps of its stages."""
    shared = {}

    def steps(program):
        return shared.setdefault((program.run.config.finetune.method, program.stage), Kept())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "compiled_steps", property(steps))
        yield


@pytest.fixture
def losses(monkeypatch):
    """Validation loss by step, put in the place of validating; steps that are not in it have loss 1."""
    told = {}

    def validate(self, program, state):
        return {"loss": told.get(int(state.step), 1.0)}

    monkeypatch.setattr(Validator, "__call__", validate)
    return told


@pytest.fixture(scope="module")
def gradual(task_root, tmp_path_factory):
    """(program, workdir, last state, lines) of an unbroken run of 7 steps: stages begin after 2, 4 and 6."""
    workdir, program = tmp_path_factory.mktemp("gradual"), build(task_root, "gradual", 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "__call__", lambda self, program, state: {"loss": 1.0})
        last, state, lines = train(program, workdir)
    assert last.stage == 3 and program.stage == 0
    return program, workdir, state, lines


def parameters_after(program, workdir, step):
    return tiny_task.parameters(*restored(program, workdir, step))


def test_at_each_stage_exactly_the_named_layers_move(gradual):
    program, workdir, _, lines = gradual
    before = tiny_task.parameters(program, tiny_task.any_state(program))
    for step in range(1, 8):
        stage = (step - 1) // 2
        after = parameters_after(program, workdir, step)
        pattern = "|".join(ADDED[: stage + 1])
        moved = {name for name, array in after.items() if (array != before[name]).any()}
        wanted = {name for name in after if re.fullmatch(pattern, name) and "key/bias" not in name}
        assert wanted <= moved and all(re.fullmatch(pattern, name) for name in moved), step
        before = after
    begun = [re.match(r"step (\d): stage (\d) of 4 begins", line) for line in lines]
    assert [found.groups() for found in begun if found] == [("2", "2"), ("4", "3"), ("6", "4")]


def test_what_trained_keeps_its_moments_and_what_thaws_begins_clean(gradual):
    program, workdir, _, _ = gradual
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(20))
    assert [checkpoints.read_seal(step)["stage"] for step in range(1, 8)] == [0, 1, 1, 2, 2, 3, 3]
    earlier, state = restored(program, workdir, 3)  # in the second stage, a step before the third
    rows = earlier.run.rows(earlier.run.data["train"], 3)
    _, state = restored(program, workdir, 3)
    state, _ = earlier.train_step(rows, print)[0](state, rows, earlier.run.keys)
    before = jax.device_get(state)
    later, entered = earlier.enter(2, state)
    _, saved = restored(program, workdir, 4)  # saved after the stage was entered
    assert_same(entered, saved)
    old, new = (s.opt_state[1] for s in (before, jax.device_get(entered)))  # behind the clipping
    assert set(old) == {"0", "1"} and set(new) == {"0", "1", "2"}
    for number in old:
        assert_same(new[number], old[number])
        assert any(np.any(leaf) for leaf in jax.tree.leaves(new[number]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(new["2"]))
    counts = [int(new[number][0].count) for number in "012"]
    assert counts == [4, 2, 0] and int(entered.opt_state[-1].count) == 4
    for mine, theirs in ((names.flatten(entered.trainable), later), (names.flatten(before.trainable), earlier)):
        sizes = sum(leaf.size for leaf in mine.values())
        half = later.split if theirs is later else earlier.split
        assert sizes == sum(int(np.prod(shape)) for shape in half.trainable_shapes().values())
    moments = [leaf for leaf in jax.tree.leaves(new) if np.ndim(leaf)]
    assert sum(leaf.size for leaf in moments) == 2 * sum(leaf.size for leaf in jax.tree.leaves(entered.trainable))


@pytest.mark.parametrize("step", [2, 3, 6])
def test_a_run_killed_at_or_between_boundaries_resumes_bit_equal(step, gradual, losses, tmp_path):
    program, workdir, whole, _ = gradual
    last, state, _ = train(program, copy(workdir, tmp_path / "run", step), start=step)
    assert last.stage == 3
    assert_same(state, whole)


@pytest.mark.parametrize("length", [2, 3])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(length, gradual, losses, task_root, tmp_path):
    """Also where it ends as a stage would begin."""
    program, workdir, whole, _ = gradual
    short, _, _ = train(build(task_root, "gradual", length), tmp_path)
    assert short.run.durations["steps"] == length
    checkpoints = Checkpoints(tmp_path / "checkpoints", Retention(20))
    assert checkpoints.latest_whole() == length
    checkpoints.close()
    assert_same(restored(program, tmp_path, length)[1], restored(program, workdir, length)[1])


PLATEAU = dict(
    finetune__unfreeze="plateau",
    finetune__unfreeze_every=None,
    finetune__patience=2,
    train__eval_every=1,
    finetune__least_improvement=0.1,
)
# The best is 2.0 at step 1; 1.95 does not count as better, so the next layer thaws after step 3; then all begins anew.
FALLING = {1: 2.0, 2: 1.95, 3: 1.95, 4: 3.0, 5: 2.5, 6: 2.45, 7: 2.45, 8: 2.0}


def test_the_next_layer_thaws_when_the_validation_loss_stops_improving(task_root, losses, tmp_path):
    losses.update(FALLING)
    program = build(task_root, "gradual", 8, **PLATEAU)
    _, whole, _ = train(program, tmp_path / "whole")
    checkpoints = Checkpoints(tmp_path / "whole" / "checkpoints", Retention(20))
    seals = [checkpoints.read_seal(step) for step in range(1, 9)]
    assert [seal["stage"] for seal in seals] == [0, 0, 1, 1, 1, 1, 2, 2]
    assert [seal["plateau"] for seal in seals] == [
        {"best": 2.0, "waited": 0}, {"best": 2.0, "waited": 1}, {"best": None, "waited": 0},
        {"best": 3.0, "waited": 0}, {"best": 2.5, "waited": 0}, {"best": 2.5, "waited": 1},
        {"best": None, "waited": 0}, {"best": 2.0, "waited": 0},
    ]  # fmt: skip
    for step in (2, 3, 6):  # waiting, as it thaws, and waiting in a later stage
        last, state, _ = train(program, copy(tmp_path / "whole", tmp_path / str(step), step), start=step)
        assert last.stage == 2
        assert_same(state, whole)


def test_a_plateau_is_of_validations_that_the_run_has_in_any_case(task_root, losses, tmp_path):
    """The validation at the end of a shorter run is none that the longer one has."""
    losses.update({2: 2.0, 3: 5.0, 4: 2.0, 6: 2.0})
    settings = PLATEAU | dict(train__eval_every=2)
    train(build(task_root, "gradual", 3, **settings), tmp_path / "short")
    program = build(task_root, "gradual", 6, **settings)
    _, whole, _ = train(program, tmp_path / "whole")
    last, state, _ = train(program, copy(tmp_path / "short", tmp_path / "longer", 3), start=3)
    assert last.stage == 1
    assert_same(state, whole)


def test_patience_is_counted_from_the_best():
    plateau = Plateau(2, 0.0)
    assert [plateau.reached(x) for x in (3.0, 3.5, 2.9, 2.9, 2.9)] == [False, False, False, False, True]
    assert plateau.state == {"best": None, "waited": 0}
    assert [plateau.reached(x) for x in (9.0, 9.0, 9.0)] == [False, False, True]
    again = Plateau(2, 0.0, {"best": 3.0, "waited": 1})
    assert again.reached(3.0)
    json.dumps(plateau.state)  # it goes into the seal


@pytest.fixture(scope="module")
def probe_then_all(task_root, tmp_path_factory):
    """(program, workdir, last state, metrics) of LP-FT: two steps of the head, then three of everything."""
    changes = dict(
        finetune__probe_steps=2, finetune__probe_learning_rate=0.5, optimizer__schedule="linear",
        optimizer__warmup_steps=2, optimizer__decay_steps=4, model__layers=1,
    )  # fmt: skip
    workdir, program = tmp_path_factory.mktemp("lp_ft"), build(task_root, "lp_ft", 3, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "__call__", lambda self, program, state: {"loss": 1.0})
        last, state, _ = train(program, workdir)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return last, workdir, state, [line for line in lines if line["split"] == "train"]


def test_the_head_trains_first_at_its_rate_and_then_all_begins_anew(probe_then_all):
    program, workdir, state, metrics = probe_then_all
    peak = program.run.config.optimizer.learning_rate
    assert program.run.durations["steps"] == 5 and program.stage == 1  # train.steps count for everything
    rates = [line["learning_rate"] for line in metrics]
    assert rates == pytest.approx([0.5, 0.5, peak / 2, peak, peak * (1 - 2 / 4)])  # warm-up, then on the line down
    before = tiny_task.parameters(program.run.program(0), tiny_task.any_state(program.run.program(0)))
    for step in (1, 2, 3):
        after = parameters_after(program, workdir, step)
        moved = {name for name, array in after.items() if (array != before[name]).any()}
        if step < 3:
            assert moved == {"classifier/kernel", "classifier/bias"}
        else:
            assert moved >= {name for name in after if "key/bias" not in name}
        before = after
    _, entered = restored(program, workdir, 2)  # saved as the second stage began
    moments = jax.tree.leaves(entered.opt_state[:-1])
    assert not any(np.any(leaf) for leaf in moments) and int(entered.opt_state[-1].count) == 2
    everything = sum(int(np.prod(shape)) for shape in program.run.shapes.values())
    assert sum(leaf.size for leaf in moments if leaf.ndim) == 2 * everything


def test_rates_and_moments_are_those_of_adam(probe_then_all):
    """The first update of the second stage is that of a new Adam: its rate times the sign of each gradient."""
    program, workdir, _, _ = probe_then_all
    before, after = (parameters_after(program, workdir, step) for step in (2, 3))
    moved = np.abs(after["encoder/layers/0/ffn/up/bias"] - before["encoder/layers/0/ffn/up/bias"])
    np.testing.assert_allclose(moved, program.run.config.optimizer.learning_rate / 2, rtol=1e-2)


def test_an_unknown_base_is_one_clear_error(task_root):
    with pytest.raises(ConfigError, match="/no/run holds no run"):
        build(task_root, "gradual", 3, init__checkpoint="/no/run")


def test_stages_do_not_read_kept_features(task_root):
    """Below the head something will train."""
    program = build(task_root, "lp_ft", 3)
    same, _ = with_features(program, None, True, lambda line: None)
    assert same is program
