"""A step whose loss is not finite, under each policy; interrupted or not, a run ends with the same bits."""

import contextlib
import json
import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze import train
from cloze.configs import base
from cloze.errors import ConfigError, DivergedError, Preempted
from cloze.models.names import unflatten
from cloze.parallel import cost
from cloze.training import divergence, updates
from cloze.training.checkpoint import Checkpoints
from cloze.training.goodput import Goodput, last_line
from cloze.training.run import retention_of
from cloze.training.workdir import Workdir
from tests.training import tiny_run
from tests.training.test_loop import told

STEPS, BAD = 8, 6
BAD_DATA = (4, 5, 6, 12)  # with `skip`; else the last two: what these updates of a good run read has a loss of NaN
SETTINGS = dict(
    model__dropout=0.1, checkpoint__every=2, train__steps=STEPS, train__eval_every=4, optimizer__warmup_steps=0,
)  # fmt: skip


class Stopped(Exception):
    """In place of a kill."""


def poisoned(root, bad, **changes):
    """A run with some bad data; how it is trained may be changed later without compiling again."""
    run = tiny_run.build(tiny_run.config("gpt2", root, **SETTINGS, **changes)).run
    rows = [run.data["train"].batches(step - 1) for step in bad]
    found = [(int(r["row_id"][0]), int(r["epoch"][0])) for r in rows]
    corrupt = run.objective.corrupt

    def poison(key, rows):
        batch, hit = corrupt(key, rows), jnp.zeros((), bool)
        for row, epoch in found:
            hit |= jnp.any((rows["row_id"] == row) & (rows["epoch"] == epoch))
        return {**batch, "target_weights": batch["target_weights"] * jnp.where(hit, jnp.nan, 1.0)}

    object.__setattr__(run.objective, "corrupt", poison)
    return run


@pytest.fixture(scope="module")
def plain(root):
    return poisoned(root, BAD_DATA[2:])


@pytest.fixture(scope="module")
def skipping(root):
    return poisoned(root, BAD_DATA, train__on_divergence="skip", train__ema_decay=0.9)


@contextlib.contextmanager
def changed(run, every=None, keep=2, **options):
    """The run with other options of `train`, none of which is compiled."""
    before, durations = {name: run.config.train[name] for name in options}, run.durations
    run.config.train.update(options)
    run.config.checkpoint.keep = keep
    object.__setattr__(run, "durations", {**durations, "checkpoint_every": every or durations["checkpoint_every"]})
    try:
        yield run
    finally:
        run.config.train.update(before)
        object.__setattr__(run, "durations", durations)


def go(run, workdir, stop_before=None, stop=None):
    """What train.py does with a run, in this process; returns its lines.

    Args:
        run: training.run.Run.
        workdir: its directory.
        stop_before: beginning of a line that it does not pass.
        stop: what is called then; None: raises Stopped.
    """
    lines, directory = [], Workdir(workdir, base.to_dict(run.config))

    def log(line):
        lines.append(line)
        if stop_before is not None and line.startswith(stop_before):
            if stop is None:
                raise Stopped
            stop()

    directory.open()
    directory.keep_config()
    checkpoints = Checkpoints(directory.checkpoints, retention_of(run))
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(directory):
        patch.setattr(cost, "peak_rate", lambda dtype: (1e12, "a test"))
        try:
            start = train.find_start(checkpoints, log)
            train.train(run, directory, checkpoints, start, log, Goodput(None, last_line(workdir / "metrics.jsonl")))
        finally:
            checkpoints.close()
    return lines


def arrays(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert checkpoints.latest_whole() == STEPS
    return [np.asarray(x) for part in ("params", "optimizer") for x in jax.tree.leaves(checkpoints.saved(STEPS, part))]


def check_equal(workdir, whole):
    assert told(workdir) == told(whole)
    for a, b in zip(arrays(workdir), arrays(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def spikes(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == "spike"]


def test_stop_names_the_steps_the_gradients_and_the_checkpoint(plain, tmp_path):
    with pytest.raises(DivergedError, match=f"in steps 5 to {BAD}. Step {BAD}: loss nan, grad_norm nan") as error:
        go(plain, tmp_path)
    assert f"gradients of all parameters are not finite at step {BAD}" in str(error.value)
    largest = str(error.value).split(f"the largest gradients at step {BAD - 1}: ")[1].split(" ")[0]
    assert largest in plain.program().gradient_names
    assert f"last good checkpoint is {tmp_path / 'checkpoints' / '4'}" in str(error.value)
    with pytest.raises(DivergedError, match=f"in steps 5 to {BAD}. "):  # and so after a resume
        go(plain, tmp_path)


@pytest.fixture(scope="module")
def skipped(skipping, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("skipped")
    return workdir, go(skipping, workdir)


def test_skip_makes_no_update_and_goes_on(skipped):
    workdir, lines = skipped
    assert any(line.startswith(f"step 5/{STEPS}  no update, 2 of at most 10") for line in lines)
    assert [(line["step"], line["loss"], line["skipped"]) for line in spikes(workdir)] == [
        (4, None, 1), (5, None, 2), (6, None, 3),
    ]  # fmt: skip
    train_lines = [line for line in told(workdir) if line["split"] == "train"]
    assert [line["step"] for line in train_lines if line["skipped"]] == [4, 5, 6]
    assert all((line["loss"] is None) == (line["step"] in (4, 5, 6)) for line in train_lines)


def test_a_skipped_update_leaves_parameters_averages_and_moments_as_they_were(skipping, skipped):
    program, checkpoints = skipping.program(), Checkpoints(skipped[0] / "checkpoints")
    state = program.restore(checkpoints, 6, lambda line: None)
    before = jax.device_get(state)
    with skipping.context():
        rows = skipping.rows(skipping.data["train"], BAD - 1)
        state, metrics = program.train_step(rows, print)[0](state, rows, skipping.keys)
    assert metrics["skipped"] == 1 and math.isnan(metrics["loss"])
    assert int(state.step) == int(before.step) + 1
    assert int(state.opt_state[-1].count) == int(before.opt_state[-1].count) + 1  # the rate goes by the run's steps
    kept = [(part.trainable, part.ema, part.opt_state[:-1]) for part in (before, state)]
    for a, b in zip(*map(jax.tree.leaves, kept), strict=True):
        np.testing.assert_array_equal(a, b)


def test_skip_killed_and_resumed_is_bit_equal(skipping, skipped, tmp_path):
    for line in (f"step 5/{STEPS}  no", f"step 7/{STEPS}  loss"):
        with pytest.raises(Stopped):
            go(skipping, tmp_path, line)
    go(skipping, tmp_path)
    check_equal(tmp_path, skipped[0])


def test_skipped_in_a_row_are_counted_over_a_resume_and_end_the_run(skipping, tmp_path):
    with changed(skipping, most_divergences=3):
        with pytest.raises(Stopped):
            go(skipping, tmp_path, f"step 5/{STEPS}  no")  # the checkpoint of step 4 has counted one
        with pytest.raises(DivergedError, match="after 3 skipped updates in a row"):
            go(skipping, tmp_path)


@pytest.fixture(scope="module")
def rewound(plain, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("rewound")
    with changed(plain, on_divergence="rewind"):
        return workdir, go(plain, workdir)


def test_rewind_goes_back_and_leaves_the_data_out(rewound):
    workdir, lines = rewound
    assert any(f"Back to step 4; the data of the {BAD - 4} steps" in line for line in lines)
    rewinds = divergence.Rewinds(workdir)
    assert [rewinds.data_step(step) for step in range(6)] == [0, 1, 2, 3, 6, 7]
    (record,) = json.loads((workdir / "rewinds.json").read_text())["rewinds"]
    assert (record["to"], record["step"]) == (4, BAD) and "gradients" in record["told"]
    steps = [(line["step"], line["split"]) for line in told(workdir)]
    assert sorted(set(steps)) == sorted(steps) and len(steps) == STEPS + 2
    assert last_line(workdir / "metrics.jsonl")["recomputing"] > 0


def test_rewind_killed_and_resumed_is_bit_equal(plain, rewound, tmp_path):
    """Before the bad step, after it was met, and in the steps that come again."""
    with changed(plain, on_divergence="rewind"):
        for line in (f"step 5/{STEPS}", "Diverged", f"step 7/{STEPS}"):
            with pytest.raises(Stopped):
                go(plain, tmp_path, line)
        go(plain, tmp_path)
    check_equal(tmp_path, rewound[0])


def test_rewind_passes_over_a_checkpoint_that_only_an_interruption_made(plain, rewound, tmp_path):
    with changed(plain, on_divergence="rewind", keep=1):
        with pytest.raises(Preempted):
            go(plain, tmp_path, f"step 4/{STEPS}  loss", lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 5]  # the newest regular one stays though keep=1
        go(plain, tmp_path)
    assert (tmp_path / "checkpoints" / "rewound" / "5").is_dir()
    check_equal(tmp_path, rewound[0])


def test_rewinds_without_a_checkpoint_begin_anew_and_end_at_last(plain, tmp_path):
    with changed(plain, on_divergence="rewind", most_divergences=1, every=100):
        with pytest.raises(DivergedError, match="to 6, after 1 rewinds to step 0.*No checkpoint was made yet"):
            go(plain, tmp_path)
    assert divergence.Rewinds(tmp_path).data_step(0) == BAD


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "rewinds.json").write_text("{")
    with pytest.raises(ConfigError, match=f"{tmp_path}/rewinds.json is damaged"):
        divergence.Rewinds(tmp_path)


def test_steps_far_over_their_running_median_stand_out_and_the_window_is_kept():
    rng, values = np.random.default_rng(0), []
    for _ in range(60):
        values.append({"loss": 2.0 + 0.1 * rng.standard_normal(), "grad_norm": 1.0 + 0.1 * rng.standard_normal()})
    values[40]["loss"], values[50]["grad_norm"] = 6.0, 30.0
    watch, found = divergence.Watch(10.0), {}
    for step, one in enumerate(values):
        if step == 45:  # a resume
            watch = divergence.Watch(10.0, json.loads(json.dumps(watch.state)))
        if (spike := watch.spike(one)) is not None:
            found[step] = spike
    assert sorted(found) == [40, 50]
    assert found[40]["loss"] == 6.0 and found[40]["loss_median"] == pytest.approx(2.0, abs=0.1)
    assert found[40]["loss_median"] == np.median([one["loss"] for one in values[:40]])
    assert all(divergence.Watch(0.0).spike(one) is None for one in values)


def test_norms_by_parameter_are_of_the_layers_that_train(root):
    rules = ((r"decoder/layers/0/.*", False), (r".*", True))
    program = tiny_run.build(tiny_run.config("gpt2", root, trainable=rules))
    shapes, names = program.split.trainable_shapes(), program.gradient_names
    assert "decoder/layers/1/ffn/up/kernel" in names and "decoder/layers/0/ffn/up/kernel" not in names
    rng = np.random.default_rng(0)
    tree = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    norms = dict(zip(names, np.asarray(updates.norms_by_parameter(unflatten(tree))), strict=True))
    assert norms["token/embedding"] == pytest.approx(np.linalg.norm(tree["token/embedding"]), rel=1e-5)
    layer = tree["decoder/layers/ffn/up/kernel"][0]
    assert norms["decoder/layers/1/ffn/up/kernel"] == pytest.approx(np.linalg.norm(layer), rel=1e-5)
