"""Losses over sizes for each budget of a sweep, with the parabolas through them."""

from collections.abc import Sequence

import numpy as np

from cloze.errors import ConfigError
from cloze.laws import bootstrap, isoflop
from cloze.laws.runs import Runs
from cloze.reports.chart import Curve, chart
from cloze.sweeps import results

PLACES = 40  # of a parabola that are drawn


def charts(rows: Sequence[results.Row]) -> list[str]:
    """The chart of a sweep of sizes for budgets; [] of any other: one budget only, or fewer than three sizes of one.

    Args:
        rows: of the sweep, finished or not.
    """
    try:
        runs = Runs.of(*zip(*results.points(rows), strict=True))
        found = isoflop.profiles(runs).parabolas
    except (ConfigError, TypeError):  # no such sweep, no finished run
        return []
    curves = [
        curve
        for number, (one, places) in enumerate(zip(found, runs.budgets(), strict=True))
        for curve in _budget(one, runs.take(places), number)
    ]
    return [chart("Validation loss over parameters N, for each budget 6 N D", curves, "nats", over="size")]


def _budget(parabola, runs, number):
    """The runs of a budget, and their parabola with its band."""
    name = f"{parabola.flops:.3g} operations"
    order = np.argsort(runs.parameters)
    sizes = np.geomspace(*parabola.sizes, PLACES)
    try:
        draws = bootstrap.resample(lambda some: isoflop.parabola(some)(sizes), runs, [np.arange(len(runs))])
        band = [*zip(sizes, *bootstrap.interval(draws), strict=True)]
    except ConfigError:  # too few runs of the budget
        band = []
    yield Curve(name, [*zip(runs.parameters[order], runs.losses[order], strict=True)], number, joined=False)
    yield Curve(f"{name}, parabola", [*zip(sizes, parabola(sizes), strict=True)], number, strong=False, band=band)
