"""The runs of a sweep as processes: train.py in each, some at a time."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloze import cli, options, storage
from cloze.configs import base
from cloze.errors import Preempted
from cloze.parallel import supervisor
from cloze.sweeps.planned import Planned
from cloze.tasks.progress import clock
from cloze.training import history, workdir

FAILED = "failed.json"  # in a run's directory: {"code": exit code, "message"}, until it is tried again
ERRORS = "errors.txt"  # in a run's directory: what its last process wrote to standard error
POLL = 0.1  # seconds between looks at the processes
# How a process ends that its run can go on from: asked to stop, or killed by a signal (as a shell has it).
STOPPED = (Preempted.exit_code, 128 + signal.SIGINT, 128 + signal.SIGTERM)

FINISHED, UNFINISHED, BROKEN = "finished", "unfinished", "failed"


@dataclasses.dataclass(frozen=True)
class State:
    """Where a run of a sweep is.

    Attributes:
        status: FINISHED, UNFINISHED (not begun, or stopped or killed on its way) or BROKEN.
        message: of a failed run, the last one.
        code: of a failed run, its exit code.
    """

    status: str
    message: str = ""
    code: int = 0


def state_of(planned: Planned, directory: pathlib.Path, config: Mapping[str, Any] | None = None) -> State:
    """Where a run is, from its directory. One that is to be judged is finished when it has been.

    Args:
        planned: the run.
        directory: of the sweep.
        config: JSON dict of the configuration that it shall have. A finished run of another one is unfinished, so that
            train.py looks at it; None: any.
    """
    run = planned.path(directory)
    try:
        failure = storage.read_checked(run / FAILED)
        return State(BROKEN, str(failure["message"]), int(failure["code"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return State(UNFINISHED)
    found = history.read(run)
    done = found.finished and (config is None or not _another(found.config, config))
    done = done and (not planned.evaluate or (run / planned.scores).is_file())
    return State(FINISHED if done else UNFINISHED)


def _another(old, new):
    """Whether configurations differ in what is learned or in the length of the run."""
    rules = base.rules_of_change(base.from_dict(new, "the sweep's configuration"))
    differing = [key for key, _, _ in workdir.differences(old, new)]
    return any(key == "train.steps" or rules.get(key) != options.FREELY for key in differing)


class StopSignals:
    """Counts SIGTERM and SIGINT while active: the first one asks the runs to save, a second one to end at once."""

    def __enter__(self):
        self.count = 0
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number, frame):
        self.count += 1

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)


@dataclasses.dataclass
class _Child:
    run: Planned
    process: subprocess.Popen
    began: float
    signals: int = 0
    verb: str = "train"


def train(
    runs: Sequence[Planned],
    directory: pathlib.Path,
    parallel: int,
    report: Callable[[str], None],
    ended: Callable[[], None],
) -> None:
    """Trains runs to their ends, in their order, each in its directory; none before what it begins with is finished.

    A run that fails says so in `FAILED`, and those that do not begin with it go on.

    Args:
        runs: those that are neither finished nor failed, with those that they begin with.
        directory: of the sweep.
        parallel: processes at a time.
        report: called with a line where a run begins or ends.
        ended: called after each end of a run.

    Raises:
        Preempted: the sweep was asked to stop; the runs have saved.
    """
    waiting, children = list(runs), []
    with StopSignals() as stop:
        _leave_out(waiting, [], directory, report)
        while children or (waiting and not stop.count):
            while (
                len(children) < parallel and not stop.count and (run := _next(waiting, children, directory)) is not None
            ):
                waiting.remove(run)
                children.append(_start(run, directory))
                report(f"{run.name}: started")
            for child in children:
                while child.signals < stop.count:  # those of a terminal do not reach it, see _start
                    child.process.send_signal(signal.SIGTERM)
                    child.signals += 1
            for child in [one for one in children if one.process.poll() is not None]:
                if child.process.returncode == 0 and child.verb == "train" and child.run.evaluate and not stop.count:
                    child.verb, child.process = "eval", _process(child.run, directory, "eval")
                    continue
                children.remove(child)
                report(_end(child, child.run.path(directory)))
                ended()
                _leave_out(waiting, children, directory, report)
            time.sleep(POLL)
        if stop.count:
            raise Preempted("stopped, the runs have saved; give the same command again to go on")


def _next(waiting, children, directory):
    """The first run that no process has in use, and nothing that it begins with is still to come.

    A sweep that was killed may have left runs that are still saving.
    """
    coming = {run.name for run in (*waiting, *(child.run for child in children))}
    free = (run for run in waiting if not any(base.name in coming for base in run.bases))
    return next((run for run in free if not storage.is_locked(run.path(directory) / "lock")), None)


def _leave_out(waiting, children, directory, report):
    """Takes out the runs that begin with one which is not finished and does not come any more."""
    coming = {run.name for run in (*waiting, *(child.run for child in children))}
    for run in list(waiting):
        lost = [
            first for first in run.bases if first.name not in coming and state_of(first, directory).status != FINISHED
        ]
        if lost:
            waiting.remove(run)
            coming.discard(run.name)
            report(f"{run.name}: left out, because {lost[0].name}, which it begins with, is not finished")


def _start(run, directory):
    path = run.path(directory)
    path.mkdir(parents=True, exist_ok=True)
    storage.remove(path / run.scores)  # which would be of another step
    return _Child(run, _process(run, directory, "train"), time.monotonic())


def _process(run, directory, verb):
    """train.py, or of a run that has ended eval.py."""
    path = run.path(directory)
    given = [f"--workdir={path}", *run.flags(directory)]
    if verb == "eval":
        given = [f"--workdir={path}", *run.evaluate, f"--output={path / run.scores}"]
    command = [sys.executable, *cli.local_program(verb, cli.checkout()), *given]
    with open(path / ERRORS, "wb") as errors:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            env={**os.environ, supervisor.STARTED_BY: str(os.getpid())},
        )  # fmt: skip


def _end(child, path):
    """Keeps what is to be known of a run that has ended, and says it in a line."""
    code, took = child.process.returncode, clock(round(time.monotonic() - child.began))
    if code == 0:
        values = history.read(path).last("validation")
        told = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        return f"{child.run.name}: finished after {took}, validation {told}"
    message = _last_line(path / ERRORS)
    if code < 0 or code in STOPPED:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else message
        return f"{child.run.name}: interrupted after {took} ({how})"
    storage.write_checked(path / FAILED, {"code": code, "message": message})
    return f"{child.run.name}: failed after {took} with exit code {code}: {message}"


def _last_line(path):
    """The last line of what a process wrote to standard error, without the name of the program."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return re.sub(r"^(train|eval)\.py: ", "", lines[-1]) if lines else "it left no message"
