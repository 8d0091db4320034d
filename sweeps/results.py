"""What came out of a sweep: a row for each run, and means over seeds. All of it is read from the runs' directories."""

import csv
import dataclasses
import io
import json
import math
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

from cloze import storage
from cloze.parallel.cost import human
from cloze.sweeps import study
from cloze.sweeps.planned import Planned, as_text, is_seed, short_keys, with_bases
from cloze.sweeps.processes import FINISHED, state_of
from cloze.sweeps.study import Study
from cloze.tasks import tables
from cloze.training import history

COSTS = ("steps", "seconds", "parameters", "trainable", "flops")


@dataclasses.dataclass(frozen=True)
class Row:
    """A run and what came out of it.

    Attributes:
        run: of the sweep.
        status: of sweeps.processes.
        metrics: {"train/loss": ...}, of the last lines of a finished run, else {}.
        costs: {name of COSTS: number}, so far.
        tokens: read so far, in rows as published figures count them: those that the first stack sees.
    """

    run: Planned
    status: str
    metrics: dict[str, float]
    costs: dict[str, float]
    tokens: int = 0

    @property
    def flat(self) -> dict[str, Any]:
        """All of it as one level of JSON."""
        values = {
            "name": "",
            "status": self.status,
            "config": self.run.config,
            **{
                key: as_text(value) if isinstance(value, Planned) else value
                for key, value in self.run.overrides.items()
            },
            **{name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            **self.costs,
        }
        return values | {"name": self.run.name}  # there is an option `name` as well


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but seeds.

    Attributes:
        values: {key: value} of what else differs in the sweep.
        rows: the runs, finished or not.
    """

    values: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def finished(self) -> list[Row]:
        return [row for row in self.rows if row.status == FINISHED]

    def summary(self, metric: str) -> tuple[float, float]:
        """(mean, standard deviation) of a metric over the finished runs; NaN where there is none, or one run only."""
        found = [row.metrics[metric] for row in self.finished if metric in row.metrics]
        mean = statistics.fmean(found) if found else math.nan
        return mean, statistics.stdev(found) if len(found) > 1 and math.isfinite(mean) else math.nan


def rows(runs: Sequence[Planned], directory: pathlib.Path) -> list[Row]:
    """The row of each run of a sweep, from its directory."""
    found = []
    for run in runs:
        told, status = history.read(run.path(directory)), state_of(run, directory).status
        metrics = {}
        if status == FINISHED:
            for split in ("train", "validation"):
                metrics |= {f"{split}/{name}": value for name, value in told.last(split).items()}
            metrics |= _scores(run.path(directory) / run.scores)
        costs = {
            "steps": max(told.step, 0),
            "seconds": round(told.seconds, 3),
            "parameters": told.facts.get("parameters", 0),
            "trainable": told.facts.get("trainable", 0),
            "flops": told.flops,
        }
        a_step = told.config["train"]["batch_size"] * told.config["data"]["sequence_length"] if told.config else 0
        found.append(Row(run, status, metrics, costs, costs["steps"] * a_step))
    return found


def _scores(path):
    """{"task/metric": value} of what eval.py has written; NaN where it is not defined."""
    try:
        value = storage.read_json(path)
    except (OSError, ValueError):
        return {}
    return {
        f"{task}/{metric}": math.nan if number is None else number
        for task, scores in value.items()
        for metric, number in scores.items()
    }


def groups(found: Sequence[Row]) -> list[Group]:
    """Rows that differ in nothing but seeds together, in the order of the sweep."""
    by_values: dict[str, list[Row]] = {}
    for row in found:
        values = {key: value for key, value in row.run.values.items() if not is_seed(key)}
        by_values.setdefault(json.dumps(values, default=repr), []).append(row)
    return [
        Group({k: v for k, v in some[0].run.values.items() if not is_seed(k)}, tuple(some))
        for some in by_values.values()
    ]


def label(group: Group) -> str:
    """A group in words, for legends."""
    called = short_keys(tuple(group.values))
    return ", ".join(f"{called[key]}={value}" for key, value in group.values.items()) or "all runs"


def shown_metrics(found: Sequence[Row]) -> list[str]:
    """The metrics that tables show: how training ended, all of validation, and scores without standard errors."""
    names = dict.fromkeys(name for row in found for name in row.metrics)
    return [
        name for name in names if name == "train/loss" or not (name.startswith("train/") or name.endswith("_stderr"))
    ]


def table(found: Sequence[Row], metrics: Sequence[str] = (), costs: bool = False) -> list[str]:
    """Lines of a Markdown table: a row for each group, metrics as mean ± standard deviation over its finished runs.

    Args:
        found: the rows.
        metrics: that it shows; empty: `shown_metrics`.
        costs: also what a run of each group costs but for its seconds, in the mean, if that differs.
    """
    metrics, grouped = metrics or shown_metrics(found), groups(found)
    costly = _differing_costs(grouped) if costs else {}
    keys = list(dict.fromkeys(key for group in grouped for key in group.values))
    head = [*(keys or ["runs"]), *metrics, *costly, "finished"]
    cells = [head]
    for number, group in enumerate(grouped):
        values = [str(group.values.get(key, "")) for key in keys] or ["all"]
        numbers = [tables.shown(*group.summary(metric)) if group.finished else "" for metric in metrics]
        numbers += [human(means[number]) for means in costly.values()]
        cells.append([*values, *numbers, f"{len(group.finished)} of {len(group.rows)}"])
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    aligned = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return [aligned[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *aligned[1:]]


def _differing_costs(grouped):
    """{name of COSTS: its mean in each group} of those that differ by more than a hundredth."""
    found = {}
    for cost in COSTS:
        means = [statistics.fmean(row.costs[cost] for row in group.rows) for group in grouped]
        if cost != "seconds" and max(means) > 1.01 * min(means) and means not in found.values():  # all may train
            found[cost] = means
    return found


def write(runs: Sequence[Planned], directory: pathlib.Path) -> list[Row]:
    """Makes results.csv, results.jsonl and table.md in a sweep's directory anew.

    Returns:
        The rows.
    """
    found = rows(runs, directory)
    flat = [row.flat for row in found]
    columns = list(dict.fromkeys(key for one in flat for key in one if key not in COSTS)) + list(COSTS)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    files = {
        "results.csv": text.getvalue(),
        "results.jsonl": "".join(json.dumps(one, default=repr) + "\n" for one in flat),
        "table.md": "\n".join(table(found)) + "\n",
    }
    for name, content in files.items():
        with storage.whole(directory / name) as partial:
            partial.write_text(content)
    return found


def study_section(told: Study, runs: Sequence[Planned], directory: pathlib.Path, source: str) -> str:
    """The section of a study, from the runs' directories.

    Args:
        told: the study.
        runs: of its sweep.
        directory: of the sweep.
        source: the sweep file.

    Raises:
        ConfigError: a setting has no finished run with the study's metric.
    """
    found = rows(runs, directory)
    settings = [
        study.Setting(
            label(group),
            group.values,
            {name: [row.metrics[name] for row in group.finished if name in row.metrics] for name in told.metrics},
        )
        for group in groups(found)
    ]
    outcome = study.Outcome(table(found, told.columns, costs=True), settings, points(found, told.metric))
    newest = max((file.stat().st_mtime for file in directory.glob("*/metrics.jsonl")), default=time.time())
    where = history.read(runs[0].path(directory)).facts
    bases = rows([run for run in with_bases(runs) if run.is_base], directory)
    spent = sum(row.costs["flops"] for row in (*found, *bases))
    how = (
        f"`python sweep.py --sweep={source} --study`, {time.strftime('%Y-%m-%d', time.localtime(newest))}, on "
        f"{where.get('devices', 'devices that are not known')}, jax {where.get('jax', '')}: {_in_words(found)}"
        f"{f', which begin with {_in_words(bases)}' if bases else ''}; {human(spent)}FLOP in all."
    )
    return study.section(told, outcome, how)


def _in_words(found):
    """How many runs, of how many parameters and steps."""
    steps = f"{_span([row.costs['steps'] for row in found], '{:,}'.format)} steps"
    return f"{len(found)} runs of {_span([row.costs['parameters'] for row in found], human)} parameters and {steps}"


def _span(values, form):
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def points(found: Sequence[Row], metric: str = "validation/loss") -> list[tuple[float, float, float]]:
    """(parameters, tokens, metric) of each finished run that has the metric; see `Row.tokens`."""
    return [(row.costs["parameters"], row.tokens, row.metrics[metric]) for row in found if metric in row.metrics]
