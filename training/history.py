"""What a run's directory says of the run: facts known before its first step, and what its metrics say since."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from cloze import storage
from cloze.training import goodput
from cloze.training.checkpoint import Checkpoints

FACTS = "run.json"
RATES = ("tokens_per_second", "mfu", "seconds", "data_wait", "flops")  # of the lines of training: how, and not what


def facts(run: Any, source: str, changed: Sequence[tuple[str, Any, Any]]) -> dict[str, Any]:
    """What `FACTS` holds of a run.

    {"steps": of the run, "parameters", "trainable": numbers of the first stage, "data": its description, "fingerprint",
    "devices": words, "jax": version}, and the arguments.

    Args:
        run: training.run.Run.
        source: the config file, with arguments after a colon.
        changed: [(option, its value there, its value in this run)].
    """
    parameters, trainable = run.program().parameter_counts()
    data = run.data["train"]
    return {
        "steps": run.durations["steps"],
        "parameters": parameters,
        "trainable": trainable,
        "data": data.description,
        "fingerprint": data.fingerprint,
        "devices": f"{run.mesh.size} {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "source": source,
        "changed": [list(one) for one in changed],
    }


@dataclasses.dataclass(frozen=True)
class History:
    """What is in a run's directory.

    Attributes:
        facts: see `facts`; {}: none are kept yet, or they are damaged.
        config: its configuration, a JSON dict; {}: there is none.
        lines: {split: [objects]} of its metrics, in the order of the file.
        step: of the newest checkpoint; -1: there is none.
    """

    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    lines: Mapping[str, list[dict[str, Any]]]
    step: int

    @property
    def finished(self) -> bool:
        """Whether the last step is saved."""
        return self.step >= self.facts.get("steps", math.inf)

    def last(self, split: str) -> dict[str, float]:
        """{metric: value} of the last line of a split, without rates; NaN where it was not finite."""
        if not self.lines.get(split):
            return {}
        left_out = ("step", "split", *RATES)
        line = self.lines[split][-1]
        return {name: math.nan if value is None else value for name, value in line.items() if name not in left_out}

    @property
    def seconds(self) -> float:
        """Of all its starts together; see training.goodput for what is not known."""
        return sum(self.lines[goodput.SPLIT][-1][kind] for kind in goodput.KINDS) if self._account else 0.0

    @property
    def goodput(self) -> float:
        """Share of the seconds in which steps were computed that count; NaN: not known."""
        return self.lines[goodput.SPLIT][-1][goodput.SPLIT] if self._account else math.nan

    @property
    def _account(self):
        return bool(self.lines.get(goodput.SPLIT))

    @property
    def flops(self) -> float:
        """Operations of all its steps, each counted once; a line of training says what its steps took."""
        total, before = 0.0, 0
        for line in self.lines.get("train", []):
            total += line.get("flops", 0) * (line["step"] - before)
            before = line["step"]
        return total


def read(workdir: str | pathlib.Path) -> History:
    """What a directory says; it need hold no run, and the run may be going on."""
    path = pathlib.Path(workdir)
    return History(
        facts=_object(path / FACTS),
        config=_object(path / "config.json"),
        lines=_lines(path / "metrics.jsonl"),
        step=max(Checkpoints(path / "checkpoints").steps(), default=-1),
    )


def _object(path):
    try:
        return storage.read_json(path)
    except (OSError, ValueError):
        return {}


def _lines(path):
    """Metrics by split; lines that cannot be read are left out, as the run's next start does."""
    found: dict[str, list] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        if f'"{goodput.SPLIT}"'.encode() in line:
            values = goodput.parse(line)
        else:
            values = _line(line)
        if values is not None:
            found.setdefault(values["split"], []).append(values)
    return found


def _line(line):
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fine = isinstance(values, dict) and type(values.get("step")) is int and isinstance(values.get("split"), str)
    return values if fine else None
