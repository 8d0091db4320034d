"""Steps whose loss or gradient is not finite: what is done about them, and what is told; and steps that stand out.

`train.on_divergence` says what is done. `stop` ends the run. `skip` makes no update of such a step (training/step.py).
`rewind` goes back to the newest regular checkpoint and leaves out the data from there to the bad step, as PaLM's
training did by hand (Chowdhery et al. 2022, section 5.1); what is left out is written down in the run's directory, so
that a later start leaves out the same.
"""

import collections
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from cloze import storage
from cloze.errors import ConfigError, DivergedError
from cloze.parallel.processes import decide

FILE = "rewinds.json"
WATCHED = ("loss", "grad_norm")
FINITE = (*WATCHED, "param_norm")  # of a good step
WINDOW = 128  # steps of a running median
LEAST = 16  # steps before anything can stand out
LEAST_DEVIATION = 0.01  # of the median: what hardly changes has no spikes of a thousandth
SHOWN = 3  # gradients in a message


class Rewound(Exception):
    """Training goes on from an earlier step: `step` of a checkpoint, None: from new parameters."""

    def __init__(self, step: int | None):
        super().__init__(f"back to {step}")
        self.step = step


class Rewinds:
    """Where a run went back, and the data that it leaves out since.

    Args:
        workdir: the run's directory. All processes are given what the first one reads.

    Raises:
        ConfigError: the file is damaged.
    """

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / FILE
        self._left_out = decide(lambda: [[record["to"], record["step"]] for record in self._read()])

    def _read(self):
        if not self._path.exists():
            return []
        try:
            records = storage.read_checked(self._path)["rewinds"]
            return [{**record, "to": int(record["to"]), "step": int(record["step"])} for record in records]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path} is damaged ({error}): bring it back from a backup. Without it, the run would not leave "
                "out the data that it has left out so far; remove the file if that may be so"
            ) from None

    def data_step(self, step: int) -> int:
        """The step of the data that the update after `step` updates reads."""
        return step + sum(bad - to for to, bad in self._left_out if to <= step)

    def count(self, to: int) -> int:
        """How often the run has gone back to a step."""
        return sum(step == to for step, _ in self._left_out)

    def add(self, to: int, step: int, found: Mapping) -> None:
        """Writes down that the run goes back from `step` to `to`; `found` is said of the bad step. All processes."""

        def write():
            records = [*self._read(), {"to": to, "step": step, **found}]
            storage.write_checked(self._path, {"rewinds": records})

        decide(write)
        self._left_out.append([to, step])


class Watch:
    """Looks at the metrics of each step: is it good, and does it stand out?

    Args:
        deviations: a step stands out where its loss or gradient norm is over the median of the steps before it by more
            than so many of their median deviations; 0: none does.
        state: that of an earlier one, as a checkpoint has it, or None.
    """

    def __init__(self, deviations: float, state: Mapping | None = None):
        self._deviations = deviations
        recent = {} if state is None else state["recent"]
        self._recent = {name: collections.deque(recent.get(name, ()), WINDOW) for name in WATCHED}
        self.skipped = 0 if state is None else state["skipped"]  # updates in a row

    @property
    def state(self) -> dict:
        """What a checkpoint keeps: JSON."""
        return {"recent": {name: list(values) for name, values in self._recent.items()}, "skipped": self.skipped}

    def spike(self, values: Mapping[str, float]) -> dict[str, float] | None:
        """The watched metrics of a step beside their medians, if it stands out; the step is then one of the recent."""
        medians, stands_out = {}, False
        for name, recent in self._recent.items():
            value = values[name]
            if len(recent) >= LEAST:
                median = medians[name] = statistics.median(recent)
                spread = 1.4826 * statistics.median(abs(one - median) for one in recent)
                limit = median + self._deviations * max(spread, LEAST_DEVIATION * abs(median))
                stands_out |= self._deviations > 0 and not value <= limit
            if math.isfinite(value):
                recent.append(value)
        if not stands_out:
            return None
        return {name: values[name] for name in WATCHED} | {f"{name}_median": value for name, value in medians.items()}


def is_good(values: Mapping[str, float]) -> bool:
    """Whether what must be finite is."""
    return all(math.isfinite(values[name]) for name in FINITE if name in values)


def in_words(step: int, values: Mapping[str, float], norms: Sequence[tuple[int, np.ndarray]], names: list[str]) -> str:
    """What is known of a bad step: its metrics, and the largest gradients by the names of their parameters.

    Args:
        step: its number.
        values: its metrics.
        norms: [(step, f32 [n])] of gradients of the last steps, the newest last, see updates.norms_by_parameter.
        names: of the n parameters, layers apart.
    """
    told = [f"step {step}: " + ", ".join(f"{name} {values[name]:.4g}" for name in FINITE if name in values)]
    for number, found in norms:
        bad = [name for name, norm in zip(names, found, strict=True) if not math.isfinite(norm)]
        if bad:
            which = "of all parameters" if len(bad) == len(names) else f"of {len(bad)} of {len(names)} parameters"
            shown = "" if len(bad) == len(names) else f", {', '.join(bad[:SHOWN])}"
            told.append(f"gradients {which} are not finite at step {number}{shown}")
        if len(bad) < len(names):
            finite = np.where(np.isfinite(found), found, -1)
            largest = [f"{names[i]} {found[i]:.4g}" for i in np.argsort(-finite)[:SHOWN] if finite[i] >= 0]
            told.append(f"the largest gradients at step {number}: {', '.join(largest)}")
    return "; ".join(told)


def regular_checkpoint(checkpoints, every: int) -> int | None:
    """The newest whole checkpoint at a multiple of `every` steps, as an undisturbed run has them; None: there is none.

    Those that a run saved because it was to stop are passed over: without the interruption they would not be there.
    """
    checkpoints.wait()
    steps = [step for step in checkpoints.steps() if step % every == 0]
    return decide(lambda: next((s for s in reversed(steps) if checkpoints.problem(s) is None), None))


def diverged(step: int, told: str, checkpoints, tried: str = "") -> DivergedError:
    """The error that ends a run at a bad step; `told` as of `in_words`, `tried` what was done about it before."""
    checkpoints.wait()
    steps = [one for one in checkpoints.steps() if checkpoints.problem(one) is None]
    last = steps[-1] if steps else 0
    kept = f"the last good checkpoint is {checkpoints.directory / str(last)}" if steps else "no checkpoint was made yet"
    policy = "" if tried else "set train.on_divergence to skip or rewind, or "
    return DivergedError(
        f"training diverged in steps {last + 1} to {step}{tried}. {told[0].upper()}{told[1:]}. "
        f"{kept[0].upper()}{kept[1:]}. To go on from it, {policy}lower optimizer.learning_rate, lengthen "
        "optimizer.warmup_steps or lower optimizer.clip_norm (--allow_changes=optimizer)"
    )
