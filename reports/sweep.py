"""The report of a sweep, from the directories of its runs."""

import math
import os
import pathlib
from collections.abc import Sequence
from html import escape

from cloze import storage
from cloze.parallel.cost import human
from cloze.reports import run as of_run
from cloze.reports import scaling
from cloze.reports.chart import Curve, chart
from cloze.reports.page import Cell, page, section, table
from cloze.sweeps import planned, results
from cloze.sweeps.planned import Planned
from cloze.sweeps.processes import BROKEN, state_of
from cloze.tasks import tables
from cloze.tasks.progress import clock
from cloze.training import history


def write(runs: Sequence[Planned], directory: str | os.PathLike) -> pathlib.Path:
    """Writes the report of a sweep into its directory, and returns its path; the runs may be going on."""
    path = pathlib.Path(directory)
    rows = results.rows(runs, path)
    groups = results.groups(rows)
    parts = [
        f"<p>{len(rows)} runs, {sum(len(group.finished) for group in groups)} of them finished.</p>",
        section("Results", _summary(rows, groups)),
        section("Sizes for a budget", *(f'<div class="alone">{one}</div>' for one in scaling.charts(rows))),
        section("Curves", '<div class="charts">', *_charts(groups, path), "</div>"),
        section("Runs", _runs(rows, path)),
        section("Failed", *_failed(rows, path)),
        section("The same in all runs", table(["option", "value"], _common(runs))),
    ]
    with storage.whole(path / of_run.FILE) as partial:
        partial.write_text(page(path.absolute().name, parts), encoding="utf-8")
    return path / of_run.FILE


def _summary(rows, groups):
    metrics = results.shown_metrics(rows)
    keys = list(dict.fromkeys(key for group in groups for key in group.values))
    lines = []
    for group in groups:
        cells = [_option(group.values.get(key, "")) for key in keys] or [results.label(group)]
        for metric in metrics:
            mean, spread = group.summary(metric)
            shown = tables.shown(mean, spread) if group.finished else ""
            cells.append(Cell(shown, mean) if math.isfinite(mean) else Cell(shown))
        count = len(group.finished)
        lines.append([*cells, Cell(f"{count} of {len(group.rows)}", count)])
    told = (
        "<p>Mean ± standard deviation over seeds. A heading sorts. Empty options are as the config file has them.</p>"
    )
    head = [*(planned.short_keys(keys).values() or ["runs"]), *metrics, "finished"]
    return told + table(head, lines, sortable=True)


def _option(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(str(value), float(value)) if number else Cell(str(value))


def _charts(groups, directory):
    """The curves of all runs, those of a group in one colour."""
    told = [(n, results.label(group), history.read(row.run.path(directory))) for n, group in enumerate(groups)
            for row in group.rows]  # fmt: skip
    for title, split, strong in (("Validation loss", "validation", True), ("Training loss", "train", False)):
        curves = [
            Curve(label, of_run.points(found.lines.get(split, []), "loss"), number, strong)
            for number, label, found in told
        ]
        yield chart(title, curves, "nats")


def _runs(rows, directory):
    metrics = results.shown_metrics(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row.run.values))
    lines = []
    for row in rows:
        there = (directory / row.run.name / of_run.FILE).is_file()
        name = Cell(row.run.name, link=f"{row.run.name}/{of_run.FILE}" if there else "")
        shown = [_option(row.run.values.get(key, "")) for key in keys]
        values = [_metric(row.metrics.get(metric)) for metric in metrics]
        costs = [
            Cell(f"{row.costs['steps']:,}", row.costs["steps"]),
            Cell(clock(round(row.costs["seconds"])), row.costs["seconds"]),
            Cell(human(row.costs["parameters"]), row.costs["parameters"]),
            Cell(human(row.costs["flops"]), row.costs["flops"]),
        ]
        lines.append([name, row.status, *shown, *values, *costs])
    head = ["run", "status", *planned.short_keys(keys).values(), *metrics, "steps", "time", "parameters", "FLOPs"]
    return table(head, lines, sortable=True)


def _metric(value):
    return Cell("") if value is None else Cell(tables.shown(value), value if math.isfinite(value) else None)


def _failed(rows, directory):
    for row in rows:
        if row.status == BROKEN:
            state = state_of(row.run, directory)
            yield (
                f"<p><code>{escape(row.run.name)}</code>, exit code {state.code}:</p>"
                f"<blockquote>{escape(state.message)}</blockquote>"
            )


def _common(runs):
    first = runs[0]
    values = {"config": first.config, **first.overrides}
    return [[key, planned.as_text(value)] for key, value in values.items() if key not in first.differing]
