"""The laws of Kaplan et al. 2020 (arXiv:2001.08361), equations 1.1 to 1.6, and a fit of L(N, D).

N counts parameters without embeddings, D tokens of data, C operations; losses are nats a token of WebText2 in pieces
of GPT-2's vocabulary.
"""

import dataclasses
import itertools
import math

import numpy as np

from cloze.laws import parametric
from cloze.laws.power import PowerLaw
from cloze.laws.runs import Runs

PF_DAY = 1e15 * 86400  # operations

LOSS_OF_PARAMETERS = PowerLaw(8.8e13, -0.076)  # 1.1: trained to the end on data without limit
LOSS_OF_TOKENS = PowerLaw(5.4e13, -0.095)  # 1.2: of a large model that stops early
LOSS_OF_COMPUTE = PowerLaw(3.1e8 * PF_DAY, -0.050)  # 1.3: of the best size, at a small batch
BEST_PARAMETERS = PowerLaw(PF_DAY / 1.3e9 ** (1 / 0.73), 0.73)  # table 6: 1.3e9 C^0.73, C in PF-days


@dataclasses.dataclass(frozen=True)
class Law:
    """L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D (equation 1.5).

    Attributes:
        N_c, D_c: scales of parameters and tokens.
        alpha_N, alpha_D: exponents where the other is without limit.
    """

    N_c: float
    D_c: float
    alpha_N: float
    alpha_D: float

    def __call__(self, parameters, tokens):
        """The loss of a model of N parameters that stops early on D tokens of data; numbers or arrays."""
        return ((self.N_c / parameters) ** (self.alpha_N / self.alpha_D) + self.D_c / tokens) ** self.alpha_D

    def coefficients(self, centre: np.ndarray) -> np.ndarray:
        """What `Form` calls this law, float64 [4]."""
        p, q = (
            exponent * (math.log(scale) - middle)
            for exponent, scale, middle in zip((self.alpha_N, self.alpha_D), (self.N_c, self.D_c), centre, strict=True)
        )
        return np.array([p, q, self.alpha_N, self.alpha_D])


class Form:
    """parametric.Form of this law: (p, q, alpha_N, alpha_D); p, q: log L at a mean, the other without limit."""

    name = "Kaplan's law [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D"
    bounds = ((-30.0, 30.0), (-30.0, 30.0), (1e-3, 5.0), (1e-3, 5.0))

    def starts(self, centre):
        exponents = (0.03, 0.1, 0.3, 1.0)
        return np.array([*itertools.product(np.arange(-1, 3.1, 0.5), np.arange(-1, 3.1, 0.5), exponents, exponents)])

    def log_loss(self, coefficients, sizes):
        p, q, alpha_N, alpha_D = np.moveaxis(coefficients, -1, 0)[..., None]
        first, second = (p - alpha_N * sizes[0]) / alpha_D, (q - alpha_D * sizes[1]) / alpha_D
        total = np.logaddexp(first, second)
        share, rest = np.exp(first - total), np.exp(second - total)
        of_power = total - share * first - rest * (second + sizes[1])
        return alpha_D * total, np.stack([share, rest, -share * sizes[0], of_power], -1)

    def law(self, coefficients, centre):
        p, q, alpha_N, alpha_D = map(float, coefficients)
        return Law(math.exp(p / alpha_N + centre[0]), math.exp(q / alpha_D + centre[1]), alpha_N, alpha_D)


def fit(runs: Runs, start: Law | None = None, descents: int = parametric.DESCENTS) -> Law:
    """The law L(N, D) nearest to runs; see `parametric.fit`, which raises for it."""
    return parametric.fit(Form(), runs, start, descents)


PUBLISHED = Law(6.4e13, 1.8e13, 0.076, 0.103)  # table 2


def critical_batch(loss):
    """Tokens in a batch above which more of them save few steps (equation 1.4): 2e8 / L^(1 / 0.21)."""
    return 2e8 / loss ** (1 / 0.21)


def loss_after_steps(parameters, steps):
    """L(N, S) on data without limit (equation 1.6, constants of table 3).

    Args:
        parameters: N.
        steps: S, updates with batches far above the critical one.
    """
    return (6.5e13 / parameters) ** 0.077 + (2.1e3 / steps) ** 0.76
