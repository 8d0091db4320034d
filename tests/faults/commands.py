"""Training commands that are killed or limited, and what a run that has ended is compared by."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import tempfile
import time

import jax
import numpy as np

from cloze.training.checkpoint import Checkpoints
from tests import verbs
from tests.training import tiny_run

STEPS = 6
CHANGES = {"train__steps": STEPS, "checkpoint__every": 1, "train__eval_every": STEPS, "model__dropout": 0.1}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has ended: `root` holds text/ and cache/, `workdir` the run."""

    root: pathlib.Path
    workdir: pathlib.Path


def undisturbed(root):
    """Trains from the first step to the last."""
    tiny_run.write_text(root / "text")
    done = start(*arguments(root, root / "run")).wait()
    assert done.returncode == 0, done.stderr
    return Finished(root, root / "run")


def arguments(root, workdir, **changes):
    """Of the run on the text in `root`/text; the options of CHANGES, and others, as of verbs.command."""
    return [*verbs.small(root), f"--workdir={workdir}", *verbs.command("", **{**CHANGES, **changes})[2:]]


def limited(largest_file, *train):
    """Runs train.py where no file may grow beyond `largest_file` bytes."""
    return start(*train, before=(largest_file,)).wait()


def start(*arguments, before=(), verb="train"):
    """Starts train.py or another verb, forked as verbs.run does it; see `Started`."""
    return Started(verbs.command(verb, *arguments)[1:], before)


class Started:
    """A command that runs; `wait()` gives its verbs.Done, `end_after(text, seconds)` ends it by a signal."""

    def __init__(self, argv, limits):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.preloaded"])
        self._streams = [
            pathlib.Path(tempfile.mkdtemp(prefix="cloze-command-")) / name for name in ("stdout", "stderr")
        ]
        self._process = context.Process(target=_become, args=(argv, list(map(str, self._streams)), limits))
        self._process.start()

    def wait(self):
        self._process.join(verbs.TIMEOUT)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        return verbs.Done(self._process.exitcode, *(stream.read_text() for stream in self._streams))

    def end_after(self, text, seconds, number=signal.SIGKILL):
        """kill -9 or another signal, some time after a text was printed; none to a command that ends before."""
        stdout, _ = self._streams
        while self._process.is_alive() and not (stdout.exists() and text in stdout.read_text()):
            time.sleep(0.005)
        time.sleep(seconds)
        if self._process.is_alive():
            os.kill(self._process.pid, number)
        return self.wait()


def _become(argv, streams, limits):
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    verbs._become(argv, [os.devnull, *streams])


def metrics(workdir):
    """What metrics.jsonl says of each step, without its times."""
    lines = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] != "goodput"]
    return [[line["step"], line["split"], line["loss"], line.get("grad_norm")] for line in lines]


def arrays(workdir, step):
    """{part: [its arrays]} of a checkpoint."""
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    return {
        part: list(map(np.asarray, jax.tree.leaves(checkpoints.saved(step, part)))) for part in ("params", "optimizer")
    }


def check_equal(workdir, whole):
    """Two runs have ended alike, to the bit."""
    assert metrics(workdir) == metrics(whole.workdir)
    assert Checkpoints(pathlib.Path(workdir) / "checkpoints").latest_whole() == STEPS
    mine, theirs = arrays(workdir, STEPS), arrays(whole.workdir, STEPS)
    for part in theirs:
        for a, b in zip(mine[part], theirs[part], strict=True):
            np.testing.assert_array_equal(a, b)
