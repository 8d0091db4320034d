"""How far a fit may be off: the same fit of runs drawn again with replacement (Efron 1979)."""

from collections.abc import Callable, Sequence

import numpy as np

from cloze.errors import ConfigError
from cloze.laws.runs import Runs

LEVEL = 0.8  # of an interval: from the 10th to the 90th percentile, as table 2 of arXiv:2203.15556
RESAMPLES = 200
MOST_FAILED = 0.5  # share of draws that may not be fitted


def resample(
    estimate: Callable[[Runs], Sequence[float]],
    runs: Runs,
    groups: Sequence[np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Estimates from runs drawn with replacement, as many from each group as it has.

    Draws that cannot be fitted, such as those of too few sizes, are left out and drawn again.

    Args:
        estimate: runs -> numbers; raises ConfigError for runs that it cannot fit.
        runs: the runs.
        groups: places of the runs of each group, int [n]: of each budget, or all together.
        resamples: draws that are fitted.
        seed: another one draws others.

    Returns:
        float64 [resamples, numbers].

    Raises:
        ConfigError: half of the draws or more cannot be fitted.
    """
    generator = np.random.default_rng(seed)
    found, drawn = [], 0
    while len(found) < resamples:
        drawn += 1
        places = np.concatenate([generator.choice(group, len(group)) for group in groups])
        try:
            found.append(np.asarray(estimate(runs.take(places)), np.float64))
        except ConfigError as error:
            if drawn - len(found) > MOST_FAILED * max(resamples, drawn):
                raise ConfigError(
                    f"the spread of a law over {len(runs)} runs cannot be known, because most draws of them cannot be "
                    f"fitted ({error}): train more runs"
                ) from None
    return np.array(found)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) percentiles between which the share `level` of estimates lies, over the first axis."""
    tail = (1 - level) / 2
    return np.quantile(values, tail, axis=0), np.quantile(values, 1 - tail, axis=0)
