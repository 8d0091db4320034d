"""Power laws of one quantity: straight lines between logarithms."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloze.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """y = (x / scale) ^ exponent, as Kaplan et al. 2020 (arXiv:2001.08361) write (x_c / x) ^ alpha: exponent -alpha.

    Attributes:
        scale: the x at which y is 1.
        exponent: the slope of log y over log x.
    """

    scale: float
    exponent: float

    def __call__(self, x):
        """y of a number or an array of them."""
        return (x / self.scale) ** self.exponent


def fit(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """The power law through points, by least squares between logarithms.

    Args:
        x, y: a number above 0 of each point.

    Raises:
        ConfigError: fewer than two different x or y, or a number that is not finite or not above 0.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise ConfigError("a power law goes through points whose coordinates are finite and above 0")
    if len(np.unique(x)) < 2:
        raise ConfigError(f"a power law needs points at two places or more; all {len(x)} are at one")
    if len(np.unique(y)) < 2:
        raise ConfigError("a power law needs values that differ; all are the same")
    exponent, intercept = np.polyfit(np.log(x), np.log(y), 1)
    with np.errstate(over="ignore", under="ignore"):
        return PowerLaw(float(np.exp(-intercept / exponent)), float(exponent))
