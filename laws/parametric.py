"""Laws of parameters and tokens together, fitted to runs by Huber's loss of log losses (Hoffmann et al. 2022).

A form says which function it is; its coefficients are those of log N and log D counted from their means, which
keeps the descent well conditioned. `kaplan.py` and `chinchilla.py` have a form each.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from cloze.errors import ConfigError
from cloze.laws.runs import Runs, check_count

DELTA = 1e-3  # of Huber's loss, in log nats (arXiv:2203.15556, appendix D.2)
DESCENTS = 16  # from the best of a form's starts, of which the best few are followed to their ends
FINISHED = 3
ITERATIONS = 100  # of a descent


class Form(Protocol):
    """A family of laws.

    Attributes:
        name: in messages.
        bounds: (least, greatest) of each coefficient.
    """

    name: str
    bounds: tuple[tuple[float, float], ...]

    def starts(self, centre: np.ndarray) -> np.ndarray:
        """Coefficients to descend from, float64 [S, P]; `centre`: means of log N and log D, float64 [2]."""

    def log_loss(self, coefficients: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(logarithm of the loss [..., R], its derivatives [..., R, P]).

        Args:
            coefficients: float64 [..., P].
            sizes: log N and log D of the runs, less their means, float64 [2, R].
        """

    def law(self, coefficients: np.ndarray, centre: np.ndarray) -> Any:
        """The law that coefficients [P] are, a function of (N, D)."""


def huber(residuals: np.ndarray, delta: float = DELTA) -> tuple[np.ndarray, np.ndarray]:
    """(Huber's loss of residuals in units of delta, its derivative), of the shape of `residuals`.

    The unit keeps the sum near the number of runs, so that the descent does not stop by an absolute tolerance: with
    means of squares of 1e-3 it does, as Besiroglu et al. 2024 (arXiv:2404.10102) found of the published fit.
    """
    scaled = residuals / delta
    inside = np.abs(scaled) <= 1
    return np.where(inside, scaled**2 / 2, np.abs(scaled) - 0.5), np.clip(scaled, -1, 1) / delta


def objective(form: Form, runs: Runs) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What a fit makes small: coefficients [..., P] -> (sum of Huber's losses [...], its gradient [..., P])."""
    sizes, _ = _sizes(runs)
    targets = np.log(runs.losses)

    def value(coefficients):
        logs, derivatives = form.log_loss(np.asarray(coefficients), sizes)
        losses, slopes = huber(logs - targets)
        return losses.sum(-1), (slopes[..., None] * derivatives).sum(-2)

    return value


def fit(form: Form, runs: Runs, start: Any = None, descents: int = DESCENTS) -> Any:
    """The law of a form that is nearest to runs.

    The objective is computed at all starts of the form; L-BFGS (scipy) descends from the best of them, and the best
    ends are polished. (Hoffmann et al. descend from all starts, and do not polish.)

    Args:
        form: the family of laws.
        runs: the runs.
        start: also descend from the coefficients of this law of the form.
        descents: how many starts are descended from.

    Raises:
        ConfigError: fewer runs than constants, or runs of one size or one length only.
    """
    check_count(runs, len(form.bounds), form.name)
    _, centre = _sizes(runs)
    value = objective(form, runs)
    starts = form.starts(centre)
    with np.errstate(over="ignore", invalid="ignore"):
        heights = np.nan_to_num(value(starts)[0], nan=np.inf)
    chosen = list(starts[np.argsort(heights, kind="stable")[:descents]])
    if start is not None:
        chosen.append(start.coefficients(centre))
    with threadpool_limits(1, user_api="blas"):  # with more threads, products this small take twenty times as long
        ends = [_descend(value, form, one) for one in chosen]
        ends = sorted((end for end in ends if np.isfinite(end.fun)), key=lambda end: end.fun)[:FINISHED]
        polished = [_polished(form, runs, end.x) for end in ends]
    best = min(polished, key=lambda end: end.cost, default=None)
    if best is None:
        raise ConfigError(f"{form.name} fits none of the {len(runs)} runs: their losses or sizes are out of range")
    return form.law(best.x, centre)


def _descend(value, form, start):
    options = dict(maxiter=ITERATIONS, ftol=1e-9, gtol=1e-6)
    return optimize.minimize(value, start, jac=True, method="L-BFGS-B", bounds=form.bounds, options=options)


def _polished(form, runs, start):
    """The same objective made small to the end: where constants trade off, L-BFGS takes thousands of steps for that."""
    sizes, _ = _sizes(runs)
    targets = np.log(runs.losses)
    low, high = np.array(form.bounds).T
    return optimize.least_squares(
        lambda at: (form.log_loss(at, sizes)[0] - targets) / DELTA,
        np.clip(start, low + 1e-9, high - 1e-9),
        lambda at: form.log_loss(at, sizes)[1] / DELTA,
        bounds=(low, high), loss="huber", x_scale="jac", max_nfev=ITERATIONS,
    )  # fmt: skip


def _sizes(runs):
    """(log N and log D less their means [2, R], the means [2])."""
    sizes = np.log([runs.parameters, runs.tokens])
    centre = sizes.mean(1)
    return sizes - centre[:, None], centre
