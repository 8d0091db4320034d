"""Killed at any time, a run goes on from its newest checkpoint and ends bit-equal to one that nothing disturbed."""

import multiprocessing
import random
import time

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.training.checkpoint import Checkpoints
from cloze.training.retention import Retention
from tests.faults import commands
from tests.test_processes import start_two


def test_a_run_that_is_killed_again_and_again_ends_bit_equal(whole, length, tmp_path):
    """At random steps and within their saves, where only the newest checkpoint is kept."""
    draw, kills, runs = random.Random(0), 0, 0
    while kills < length.kills:
        runs += 1
        workdir = tmp_path / str(runs)
        arguments = commands.arguments(whole.root, workdir, checkpoint__keep=1)
        last = 0
        while last < commands.STEPS and kills < length.kills:
            last = draw.randint(last, commands.STEPS)
            text = f"step {last}/{commands.STEPS}" if last else "Compiled"
            done = commands.start(*arguments).kill_after(text, draw.uniform(0, 0.15))
            assert done.returncode in (-9, 0), done.stderr
            kills += 1
            last = max(last, 1)
        done = commands.start(*arguments).wait()
        assert done.returncode == 0, done.stderr
        commands.check_equal(workdir, whole)


def _save_on_and_on(directory):
    """Saves checkpoints whose arrays say their step, each as soon as the last one is whole."""
    checkpoints = Checkpoints(directory, Retention(1))
    checkpoints.clear_partial()
    step = checkpoints.latest_whole() or 0
    while True:
        step += 1
        checkpoints.save(step, {"array": jnp.full(5000, step)}, None, {})
        checkpoints.wait()


def test_killed_while_it_saves_the_newest_whole_checkpoint_is_there(length, tmp_path):
    draw, last, checkpoints = random.Random(1), 0, Checkpoints(tmp_path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    for _ in range(length.save_kills):
        process = context.Process(target=_save_on_and_on, args=(tmp_path,))
        process.start()
        while process.is_alive() and max(checkpoints.steps(), default=0) <= last + 2:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join()
        newest = checkpoints.latest_whole()
        assert newest is not None and newest > last, process.exitcode
        assert (np.asarray(checkpoints.saved(newest)["array"]) == newest).all()
        last = newest


def test_one_of_two_processes_is_killed_and_the_other_says_so(length, whole, tmp_path):
    if not length.processes:
        pytest.skip("a part of `make chaos`")
    for number in range(length.processes):
        victim, workdir = number % 2, tmp_path / str(number)
        arguments = commands.arguments(whole.root, workdir, train__steps=100_000)
        both = start_two(*arguments)
        for line in both[0].stdout:
            if line.startswith("step 5/"):
                break
        both[victim].kill()
        began = time.monotonic()
        _, errors = both[1 - victim].communicate(timeout=120)
        assert time.monotonic() - began < 60, errors
        assert both[1 - victim].returncode == 75, errors
        assert "start all processes again" in errors and len(errors.splitlines()) == 1, errors
        both[victim].communicate()
        assert Checkpoints(workdir / "checkpoints").latest_whole() >= 3
