"""A disk that is full: one message, its exit code, whole checkpoints, and the run goes on when there is room."""

import random
import shutil
import subprocess

import numpy as np
import pytest

from cloze.errors import WriteError
from cloze.training.checkpoint import Checkpoints
from tests.faults import commands


def check_refused(done, workdir):
    """One message that says why and where, and nothing that was saved is lost."""
    assert done.returncode == WriteError.exit_code, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Free some space" in done.stderr, done.stderr
    assert str(workdir) in done.stderr
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert all(checkpoints.problem(step) is None for step in checkpoints.steps())


def test_a_checkpoint_that_cannot_be_written_is_one_message_and_the_others_stay(whole, tmp_path):
    workdir, last = tmp_path / "run", commands.STEPS - 1
    shutil.copytree(whole.workdir, workdir)
    shutil.rmtree(workdir / "checkpoints" / str(commands.STEPS))  # killed before it was saved
    done = commands.limited(40_000, *commands.arguments(whole.root, workdir))  # arrays of a checkpoint are larger
    check_refused(done, workdir)
    assert f"checkpoint of step {commands.STEPS}" in done.stderr
    assert Checkpoints(workdir / "checkpoints").latest_whole() == last
    kept, saved = commands.arrays(workdir, last), commands.arrays(whole.workdir, last)
    for part in saved:
        for a, b in zip(kept[part], saved[part], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def disk(tmp_path):
    """A function that makes a disk of so many KiB, or resizes it; None where this user may mount none."""
    place = tmp_path / "disk"
    place.mkdir()

    def resize(kilobytes, *more):
        options = ",".join([f"size={kilobytes}k", *more])
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True).returncode

    try:
        mounted = resize(64) == 0
    except OSError:
        mounted = False
    yield (place, resize) if mounted else None
    if mounted:
        subprocess.run(["umount", place], check=True)


def test_a_disk_of_any_size_is_full_at_some_time(whole, length, disk):
    if not length.full_disks or disk is None:
        pytest.skip("a part of `make chaos`, for users who may mount a disk")
    (place, resize), draw = disk, random.Random(2)
    for number in range(length.full_disks):
        workdir = place / str(number)
        resize(draw.choice([4, 16, 40, 100, 200, 400, 700]), "remount")
        arguments = commands.arguments(whole.root, workdir)
        done = commands.start(*arguments).wait()
        check_refused(done, workdir)
        resize(10_000, "remount")
        done = commands.start(*arguments).wait()
        assert done.returncode == 0, done.stderr
        commands.check_equal(workdir, whole)
        subprocess.run(["rm", "-rf", workdir], check=True)
