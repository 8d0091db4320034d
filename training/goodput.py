"""Goodput: which share of a run's seconds has computed steps that count, over all its starts."""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cloze.tasks.progress import clock

SPLIT = "goodput"  # of its lines in metrics.jsonl
KINDS = {  # {name in the metrics: what the seconds were spent with}
    "computing": "computing",
    "recomputing": "computing again what was lost",
    "waiting": "waiting for data",
    "saving": "saving",
    "evaluating": "evaluating",
    "starting": "starting",
}


class Goodput:
    """An account of the seconds of a run.

    What is not accounted for otherwise is computing, or recomputing where the run has been at the step before: a crash
    or a rewind has lost what it had computed there. Starting is everything from the start of the process to the first
    step, and all compiling. Seconds after the last line of a process that was killed are not known.

    Args:
        began: `time.perf_counter()` at the start of the process; None: now.
        line: the last line of the account of earlier starts, see `last_line`; None: there were none.
    """

    def __init__(self, began: float | None = None, line: Mapping[str, Any] | None = None):
        line = line or {}
        self.seconds = {kind: float(line.get(kind, 0.0)) for kind in KINDS}
        self.starts = int(line.get("starts", 0)) + 1
        self.reached = int(line.get("reached", 0))
        self.step = 0
        self._began = time.perf_counter() if began is None else began
        self._marked, self._kind = self._began, "starting"

    def since_start(self) -> float:
        """Seconds since the process began."""
        return time.perf_counter() - self._began

    def _mark(self, kind):
        now = time.perf_counter()
        self.seconds[kind] += now - self._marked
        self._marked = now

    def at(self, step: int) -> None:
        """From now on this step is computed."""
        self._mark(self._kind)
        self._kind = "recomputing" if step <= self.reached else "computing"
        self.step, self.reached = step, max(step, self.reached)

    def restart(self) -> None:
        """From now on, until the next step, the run starts again."""
        self._mark(self._kind)
        self._kind = "starting"

    @contextlib.contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        """The seconds within are of another kind."""
        self._mark(self._kind)
        try:
            yield
        finally:
            self._mark(kind)

    def values(self) -> dict[str, float]:
        """The metrics of a line: seconds of each of `KINDS`, and "goodput", the share of computing in their sum.

        Besides: "starts", how often the run was started, and "reached", the last step that was ever computed.
        """
        self._mark(self._kind)
        share = self.seconds["computing"] / max(sum(self.seconds.values()), 1e-9)
        return {SPLIT: share, **self.seconds, "starts": self.starts, "reached": self.reached}

    def summary(self) -> str:
        """One line for the console."""
        values = self.values()
        told = [
            f"{words} {clock(round(self.seconds[kind]))}" for kind, words in KINDS.items() if self.seconds[kind] >= 0.5
        ]
        starts = f"{self.starts} start{'s' if self.starts > 1 else ''}"
        total = clock(round(sum(self.seconds.values())))
        return f"Goodput {100 * values[SPLIT]:.1f}% of {total} in {starts}: {', '.join(told)}"


def last_line(path: pathlib.Path) -> dict[str, Any] | None:
    """The last line of the account in a metrics.jsonl; None: there is none that can be read."""
    if not path.exists():
        return None
    for line in reversed(path.read_bytes().splitlines()):
        if (found := parse(line)) is not None:
            return found
    return None


def parse(line: bytes) -> dict[str, Any] | None:
    """What a line of metrics.jsonl says, if it is one of the account; else None."""
    if f'"{SPLIT}"'.encode() not in line:
        return None
    try:
        found = json.loads(line)
        numbers = [found[name] for name in ("step", "starts", "reached", *KINDS)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    fine = all(type(number) in (int, float) and 0 <= number < math.inf for number in numbers)
    return found if found.get("split") == SPLIT and fine else None
