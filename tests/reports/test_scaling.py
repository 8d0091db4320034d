"""The chart of sizes for budgets: which sweeps have one, and what it shows."""

import numpy as np

from cloze.reports import scaling
from cloze.sweeps import processes
from cloze.sweeps.planned import Planned
from cloze.sweeps.results import Row


def rows(budgets=(1e12, 4e12), sizes=(1e4, 2e4, 4e4, 8e4, 1.6e5)):
    """A row of each size for each budget, whose losses are parabolas of log N around 4e4."""
    found = []
    for budget in budgets:
        for size in sizes:
            loss = 3 - 0.1 * np.log(budget / 1e12) + 0.05 * np.log(size / 4e4) ** 2
            costs = {"steps": 1, "seconds": 1.0, "parameters": size, "flops": budget}
            run = Planned(f"{budget:g}-{size:g}", "c", {}, (), "")
            found.append(Row(run, processes.FINISHED, {"validation/loss": float(loss)}, costs, budget / 6 / size))
    return found


def test_runs_parabolas_and_bands_of_each_budget_are_drawn():
    (html,) = scaling.charts(rows())
    assert html.count('<g class="curve') == 4 and html.count("<circle") == 10 and html.count("<polyline") == 2
    assert html.count('class="band"') == 2 and 'data-over="size"' in html
    for name in ("1e+12 operations", "4e+12 operations, parabola"):
        assert f'data-name="{name}"' in html
    assert ">100k<" in html and "step" not in html


def test_other_sweeps_have_no_such_chart():
    unfinished = [Row(row.run, processes.UNFINISHED, {}, row.costs) for row in rows()]
    for some in ([], unfinished, rows(budgets=(1e12,)), rows(sizes=(1e4, 2e4)), rows(sizes=(4e4,) * 5)):
        assert scaling.charts(some) == []
