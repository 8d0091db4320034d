"""Killed at any time, a run goes on from its newest checkpoint and ends bit-equal to one that nothing disturbed."""

import multiprocessing
import random
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest

from cloze.training.checkpoint import Checkpoints
from cloze.training.retention import Retention
from tests import verbs
from tests.faults import commands
from tests.test_processes import start_several
from tests.training import tiny_run


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
            done = commands.start(*arguments).end_after(text, draw.uniform(0, 0.15))
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


def test_a_run_that_is_stopped_again_and_again_ends_bit_equal(whole, length, tmp_path):
    """By SIGTERM at random times: before the first step as any program, later after saving."""
    if not length.signals:
        pytest.skip("a part of `make chaos`")
    draw, sent, runs = random.Random(3), 0, 0
    while sent < length.signals:
        runs += 1
        workdir, done = tmp_path / str(runs), None
        arguments = commands.arguments(whole.root, workdir, checkpoint__every=commands.STEPS)
        while sent < length.signals and (done is None or done.returncode):
            text = draw.choice(
                ["Run in", "Compiled", *[f"step {n}/{commands.STEPS}" for n in range(1, commands.STEPS)]]
            )
            done = commands.start(*arguments).end_after(text, draw.uniform(0, 0.1), signal.SIGTERM)
            assert done.returncode in (75, -signal.SIGTERM, 0), done.stderr
            saved = Checkpoints(workdir / "checkpoints").latest_whole()
            assert done.returncode != 75 or f"stopped at step {saved} " in done.stderr, done.stderr
            sent += 1
        done = commands.start(*arguments).wait()
        assert done.returncode == 0, done.stderr
        commands.check_equal(workdir, whole)


def prepared(cache):
    """{name: content} of what is prepared in a cache, but for locks."""
    files = [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith("lock")]
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def test_preparation_that_is_killed_goes_on_and_prepares_the_same(length, tmp_path):
    if not length.prepare_kills:
        pytest.skip("a part of `make chaos`")
    tiny_run.write_text(tmp_path / "text", documents=600)
    draw, expected, seconds = random.Random(4), None, 0.0
    for number in range(length.prepare_kills + 1):
        cache, began = tmp_path / f"cache-{number}", time.monotonic()
        command = [*verbs.small(tmp_path), f"--config.data.cache_dir={cache}"]
        if number:
            done = commands.start(*command, verb="prepare").end_after("", draw.uniform(0, seconds))
            assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        done = commands.start(*command, verb="prepare").wait()
        assert done.returncode == 0, done.stderr
        if not number:
            expected, seconds = prepared(cache), time.monotonic() - began
        assert prepared(cache) == expected


@pytest.mark.parametrize("count", [2, 4])
def test_one_of_several_processes_is_killed_and_the_others_say_so(count, length, whole, tmp_path):
    if not length.processes:
        pytest.skip("a part of `make chaos`")
    for number in range(length.processes):
        victim, workdir = number % count, tmp_path / str(number)
        arguments = commands.arguments(whole.root, workdir, train__steps=100_000)
        started = start_several(count, *arguments)
        for line in started[0].stdout:
            if line.startswith("step 5/"):
                break
        started[victim].kill()
        began = time.monotonic()
        for place, process in enumerate(started):
            _, errors = process.communicate(timeout=120)
            if place == victim:
                continue
            assert time.monotonic() - began < 60, errors
            assert process.returncode == 75, errors
            assert "start all processes again" in errors and len(errors.splitlines()) == 1, errors
            assert f"(process {place} of {count})" in errors
        assert Checkpoints(workdir / "checkpoints").latest_whole() >= 3
