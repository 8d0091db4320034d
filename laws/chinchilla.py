"""The law L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556, section 3.3)."""

import dataclasses
import itertools
import math

import numpy as np

from cloze.laws import parametric
from cloze.laws.runs import Runs


@dataclasses.dataclass(frozen=True)
class Law:
    """E + A / N^alpha + B / D^beta, in nats a token (equation 2).

    Attributes:
        E: what no model of the text can leave out.
        A, alpha: of the parameters N.
        B, beta: of the tokens D.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def __call__(self, parameters, tokens):
        """The loss of a model of N parameters after D tokens; numbers or arrays."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def best(self, flops):
        """(N, D) of the lowest loss for 6 N D = `flops` (equation 4); numbers or arrays."""
        total = self.alpha + self.beta
        log_ratio = math.log(self.alpha * self.A) - math.log(self.beta * self.B)
        parameters = np.exp(log_ratio / total) * (flops / 6) ** (self.beta / total)
        return parameters, flops / 6 / parameters

    @property
    def exponents(self) -> tuple[float, float]:
        """(a, b) of N ~ C^a and D ~ C^b."""
        total = self.alpha + self.beta
        return self.beta / total, self.alpha / total

    def coefficients(self, centre: np.ndarray) -> np.ndarray:
        """What `Form` calls this law, float64 [5]."""
        a, b = math.log(self.A) - self.alpha * centre[0], math.log(self.B) - self.beta * centre[1]
        return np.array([math.log(self.E), a, b, self.alpha, self.beta])


class Form:
    """parametric.Form of this law: (log E, a, b, alpha, beta); a, b: logarithms of its terms at the means."""

    name = "Chinchilla's law E + A / N^alpha + B / D^beta"
    bounds = ((-30.0, 30.0), (-30.0, 30.0), (-30.0, 30.0), (1e-3, 5.0), (1e-3, 5.0))

    def starts(self, centre):
        """The grid of appendix D.2 without exponents of 0: 1,440 starts."""
        exponents = np.arange(0.5, 2.01, 0.5)
        grid = itertools.product(
            np.arange(-1, 1.01, 0.5), np.arange(0, 26, 5.0), np.arange(0, 26, 5.0), exponents, exponents
        )
        found = np.array([*grid])
        found[:, 1] -= found[:, 3] * centre[0]
        found[:, 2] -= found[:, 4] * centre[1]
        return found

    def log_loss(self, coefficients, sizes):
        e, a, b, alpha, beta = np.moveaxis(coefficients, -1, 0)[..., None]
        terms = np.stack(np.broadcast_arrays(e, a - alpha * sizes[0], b - beta * sizes[1]), -1)
        highest = terms.max(-1, keepdims=True)
        shares = np.exp(terms - highest)
        total = shares.sum(-1, keepdims=True)
        shares /= total
        return (highest + np.log(total))[..., 0], np.concatenate([shares, -shares[..., 1:] * sizes.T], -1)

    def law(self, coefficients, centre):
        e, a, b, alpha, beta = map(float, coefficients)
        return Law(math.exp(e), math.exp(a + alpha * centre[0]), math.exp(b + beta * centre[1]), alpha, beta)


def fit(runs: Runs, start: Law | None = None, descents: int = parametric.DESCENTS) -> Law:
    """Approach 3: the law nearest to runs; see `parametric.fit`, which raises for it."""
    return parametric.fit(Form(), runs, start, descents)


# The fit of the paper before rounding, as its TeX source has it beside equation 10: 1.69, 406.4, 410.7, 0.34, 0.28.
# Rounded exponents move the frontier: at 67B parameters from 1.75e24 operations to 2.92e24; table A3 has 1.71e24.
PUBLISHED = Law(math.exp(0.5267228), math.exp(6.0073404), math.exp(6.0179186), 0.33917084, 0.2849083)
# The same runs fitted anew by Besiroglu et al. 2024 (arXiv:2404.10102, equation 9).
FITTED_ANEW = Law(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
EXPONENTS_OF_PROFILES = (0.49, 0.51)  # a and b of approach 2 (table 2)
