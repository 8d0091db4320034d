"""The loop: resume to the bit, divergence, signals, and what it writes."""

import json
import multiprocessing
import os
import signal

import jax
import numpy as np
import pytest

from cloze.errors import DivergedError, Preempted
from cloze.parallel.cost import human
from cloze.tasks.progress import clock
from cloze.training.checkpoint import Checkpoints
from cloze.training.loop import Progress, StopSignal, fit
from cloze.training.metrics import MetricWriter
from cloze.training.retention import Retention
from tests.training import tiny_run


def train(program, workdir, start=0, state=None, every_line=lambda line: None):
    """Runs the loop as train.py does; returns the last state."""
    workdir.mkdir(exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(2))
    seal = None
    if start:
        state, seal = program.restore(checkpoints, start), checkpoints.read_seal(start)
    state = program.new_state() if state is None else state
    writer = MetricWriter(workdir, start)
    try:
        return fit(
            program, state, start=start, checkpoints=checkpoints, writer=writer,
            progress=Progress(1e12, program.run.durations["steps"]), facts={}, report=every_line, seal=seal,
        )[1]  # fmt: skip
    finally:
        writer.close()
        checkpoints.close()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def settings(root, **changes):
    """Dropout on: its random bits must resume as well."""
    return tiny_run.config(
        "bert", root, model__dropout=0.1, checkpoint__every=4, train__steps=7, train__eval_every=7, **changes
    )


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """(workdir, parameters, state) of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    program = tiny_run.build(settings(root))
    state = train(program, workdir)
    return workdir, tiny_run.parameters(program, state), state


def check_equal(program, state, whole, workdir):
    for name, value in tiny_run.parameters(program, state).items():
        np.testing.assert_array_equal(value, whole[1][name], err_msg=name)
    for a, b in zip(jax.tree.leaves(state.opt_state), jax.tree.leaves(whole[2].opt_state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert told(workdir) == told(whole[0])


def told(workdir):
    """What is the same whenever it is computed, of all lines of metrics but those that account for seconds."""
    keep = ("step", "split", "loss", "grad_norm", "learning_rate", "skipped", "loss_median", "grad_norm_median")
    read = [line for line in lines(workdir) if line["split"] != "goodput"]
    return [{name: value for name, value in line.items() if name in keep} for line in read]


def test_a_run_stopped_by_a_signal_resumes_bit_equal(root, whole, tmp_path):
    program = tiny_run.build(settings(root))

    def stop_after_three(line):
        if line.startswith("step 3/"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted, match="run the same command again"):
        train(program, tmp_path, every_line=stop_after_three)
    saved = Checkpoints(tmp_path / "checkpoints").latest_whole()
    assert saved in (4, 5)
    state = train(tiny_run.build(settings(root)), tmp_path, start=saved)
    check_equal(program, state, whole, tmp_path)


def test_a_killed_run_resumes_bit_equal_and_repeats_no_step(root, whole, tmp_path):
    """What was logged after the last checkpoint is done again, and stands in the log once."""

    class Killed(Exception):
        pass

    def kill_after_six(line):
        if line.startswith("step 6/"):
            raise Killed

    program = tiny_run.build(settings(root))
    with pytest.raises(Killed):
        train(program, tmp_path, every_line=kill_after_six)
    assert lines(tmp_path)[-1]["step"] == 6
    saved = Checkpoints(tmp_path / "checkpoints").latest_whole()
    assert saved == 4
    state = train(program, tmp_path, start=saved)
    check_equal(program, state, whole, tmp_path)


def test_resumes_in_a_row_are_bit_equal(root, whole, tmp_path):
    """Three times, each from where the last one stopped."""
    program, start, state = tiny_run.build(settings(root, checkpoint__keep=3)), 0, None

    def stop(line):
        if line.startswith(f"step {start + 1}/"):
            os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(3):
        with pytest.raises(Preempted):
            train(program, tmp_path, start=start, every_line=stop)
        start = Checkpoints(tmp_path / "checkpoints").latest_whole()
    state = train(program, tmp_path, start=start)
    check_equal(program, state, whole, tmp_path)


def _signals_itself_twice(directory):
    with StopSignal() as stop:
        for number in ("first", "second"):
            os.kill(os.getpid(), signal.SIGINT)
            (directory / number).touch()
            assert stop.at(1)


def test_a_second_interrupt_ends_at_once(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    process = context.Process(target=_signals_itself_twice, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 130 and [path.name for path in tmp_path.iterdir()] == ["first"]


def test_metrics_have_what_scripts_rely_on(whole):
    written = lines(whole[0])
    assert [line["step"] for line in written if line["split"] == "train"] == [1, 2, 3, 4, 5, 6, 7]
    for line in written:
        if line["split"] == "train":
            assert {"loss", "tokens_per_second", "mfu", "learning_rate", "grad_norm", "seconds"} <= set(line)
            assert 0 <= line["data_wait"] <= line["seconds"]
    assert written[-1]["split"] == "validation" and {"loss", "mlm", "nsp"} <= set(written[-1])
    assert any((whole[0] / "tensorboard").iterdir())


def test_waiting_for_rows_is_told_per_step():
    progress = Progress(1e12, 10)
    for _ in range(4):
        progress.wait(0.5)
        progress.count(8, 1)
    assert progress.report(4)["data_wait"] == 0.5
    progress.count(8, 1)
    assert progress.report(5)["data_wait"] == 0


def test_a_decay_from_a_stable_checkpoint_is_the_run_that_had_decayed_from_there(root, tmp_path):
    wsd = dict(optimizer__schedule="wsd", optimizer__decay_shape="sqrt", model__dropout=0.1, checkpoint__every=4)

    def run(workdir, start=0, **changes):
        program = tiny_run.build(tiny_run.config("gpt2", root, **wsd, **changes))
        state = train(program, workdir, start)
        rates = [line["learning_rate"] for line in lines(workdir) if line["split"] == "train"]
        return rates, tiny_run.parameters(program, state), state

    rates, whole, state = run(tmp_path / "whole", train__steps=8, optimizer__decay_share=0.5)
    stable, _, _ = run(tmp_path / "stable", train__steps=4, optimizer__decay_steps=100)  # nothing has fallen yet
    again, decayed, other = run(tmp_path / "stable", 4, train__steps=8, optimizer__decay_share=0.5)
    assert rates[:4] == stable and rates == again and rates[3] == rates[4] > rates[5] > rates[6] > 0
    for name, value in whole.items():
        np.testing.assert_array_equal(decayed[name], value, err_msg=name)
    for a, b in zip(jax.tree.leaves(state.opt_state), jax.tree.leaves(other.opt_state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_divergence_stops_and_names_the_last_good_checkpoint(root, tmp_path):
    constant = dict(optimizer__warmup_steps=0, optimizer__schedule="constant", checkpoint__every=1)
    train(tiny_run.build(tiny_run.config("gpt2", root, train__steps=2, **constant)), tmp_path)
    wild = tiny_run.config("gpt2", root, optimizer__learning_rate=1e30, **constant)
    with pytest.raises(DivergedError, match="step 3.*learning_rate") as error:
        train(tiny_run.build(wild), tmp_path, start=2)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest_whole() == 2
    assert str(checkpoints.directory / "2") in str(error.value)


def test_figures_for_people():
    assert [human(n) for n in (3, 12345, 9.89e14)] == ["3", "12.35k", "989T"]
    assert [clock(s) for s in (65, 3725, 90000)] == ["1m05s", "1h02m", "1d01h"]
