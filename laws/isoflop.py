"""The best size of a budget, from runs alone (Hoffmann et al. 2022, arXiv:2203.15556, sections 3.1 and 3.2)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloze.errors import ConfigError
from cloze.laws import power
from cloze.laws.power import PowerLaw
from cloze.laws.runs import Runs

SIZES = 3  # different ones of a budget, for a parabola
POINTS = 1500  # budgets at which an envelope is read, as in the paper


@dataclasses.dataclass(frozen=True)
class Parabola:
    """Loss over log N for one budget: lowest + curvature (log N - log best)^2.

    Attributes:
        flops: the budget, 6 N D.
        best: N of its lowest point.
        lowest: the loss there.
        curvature: above 0.
        sizes: the least and the greatest N of the runs.
    """

    flops: float
    best: float
    lowest: float
    curvature: float
    sizes: tuple[float, float]

    def __call__(self, parameters):
        """The loss of a model of N parameters for this budget; a number or an array."""
        return self.lowest + self.curvature * np.log(parameters / self.best) ** 2

    @property
    def inside(self) -> bool:
        """Whether the lowest point lies between the sizes that were trained."""
        return self.sizes[0] <= self.best <= self.sizes[1]


@dataclasses.dataclass(frozen=True)
class Frontier:
    """The best size and length over the budget.

    Attributes:
        parameters, tokens: power laws of the operations C.
    """

    parameters: PowerLaw
    tokens: PowerLaw


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Approach 2.

    Attributes:
        parabolas: of each budget, the smallest first.
        frontier: through their lowest points.
    """

    parabolas: tuple[Parabola, ...]
    frontier: Frontier


def parabola(runs: Runs) -> Parabola:
    """The parabola of loss over log N through runs of one budget, by least squares.

    Raises:
        ConfigError: fewer than three sizes, or a parabola without a lowest point.
    """
    flops = float(np.exp(np.log(runs.flops).mean()))
    sizes = np.unique(runs.parameters)
    if len(sizes) < SIZES:
        raise ConfigError(
            f"the budget of {flops:.3g} operations has runs of {len(sizes)} sizes; a parabola needs {SIZES} or more"
        )
    x = np.log(runs.parameters)
    middle = x.mean()
    curvature, slope, level = np.polyfit(x - middle, runs.losses, 2)
    if curvature <= 0:
        raise ConfigError(
            f"the losses of {flops:.3g} operations have no lowest point over the sizes {sizes[0]:,.0f} to "
            f"{sizes[-1]:,.0f}: train smaller and larger ones"
        )
    with np.errstate(over="ignore"):
        best = float(np.exp(middle - slope / (2 * curvature)))
    if not 0 < best < np.inf:
        raise ConfigError(f"the losses of {flops:.3g} operations lie on a line: train smaller and larger sizes")
    return Parabola(flops, best, float(level - slope**2 / (4 * curvature)), float(curvature), (sizes[0], sizes[-1]))


def profiles(runs: Runs) -> Profiles:
    """Approach 2: a parabola for each budget, and power laws through their lowest points.

    Args:
        runs: of two budgets or more, three sizes or more for each.

    Raises:
        ConfigError: as of `parabola`, or there is one budget only.
    """
    found = tuple(parabola(runs.take(places)) for places in runs.budgets())
    if len(found) < 2:
        raise ConfigError("all runs have one budget of operations: a law of the best size needs two or more")
    return Profiles(found, _frontier([one.flops for one in found], [one.best for one in found]))


def envelope(curves: Sequence[Runs], points: int = POINTS) -> Frontier:
    """Approach 1: which of several training curves is lowest for a budget, and power laws through these.

    Losses between the points of a curve are straight lines over log C. Budgets are spread evenly over log C where two
    curves or more have a loss. Those for which the smallest or the largest size is best are left out: a size beyond it
    may be better. The curves shall be of several lengths for each size, smoothed.

    Args:
        curves: of each training, its size and the tokens and losses along it.
        points: budgets.

    Raises:
        ConfigError: fewer than two sizes, curves that share no budget, or fewer than two sizes between the smallest
            and the largest that are best for a budget.
    """
    if len({float(size) for curve in curves for size in curve.parameters}) < 2:
        raise ConfigError("the envelope of training curves needs curves of two sizes or more")
    spans = np.array([(curve.flops.min(), curve.flops.max()) for curve in curves])
    low, high = np.sort(spans[:, 0])[1], np.sort(spans[:, 1])[-2]  # two curves or more
    if low >= high:
        raise ConfigError("no two training curves have a loss for the same budget: log more often or train longer")
    budgets = np.geomspace(low, high, points)
    heights = np.array([_between(curve, budgets) for curve in curves])
    shared = np.isfinite(heights).sum(0) > 1
    budgets, heights = budgets[shared], heights[:, shared]
    sizes = np.array([curve.parameters[0] for curve in curves])[heights.argmin(0)]
    ends = [extreme(curve.parameters[0] for curve in curves) for extreme in (min, max)]
    between = ~np.isin(sizes, ends)
    if len(np.unique(sizes[between])) < 2:
        told = ", ".join(f"{size:,.0f}" for size in np.unique(sizes))
        raise ConfigError(f"the best sizes are {told}, at the ends of those trained: train smaller and larger ones")
    return _frontier(budgets[between], sizes[between])


def _between(curve, budgets):
    """Losses of a curve for budgets; infinite where it has none."""
    order = np.argsort(curve.flops)
    logs = np.log(curve.flops[order])
    return np.interp(np.log(budgets), logs, curve.losses[order], left=np.inf, right=np.inf)


def _frontier(flops, parameters):
    flops, parameters = np.asarray(flops), np.asarray(parameters)
    return Frontier(power.fit(flops, parameters), power.fit(flops, flops / 6 / parameters))
