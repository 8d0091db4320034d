"""The parametric laws: planted constants, published tables, the gradient of the fit, input that cannot be fitted."""

import dataclasses

import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.laws import bootstrap, chinchilla, kaplan, parametric, power
from cloze.laws.runs import Runs

# Parameters, operations and tokens of arXiv:2203.15556, table A3, approach 3. At 175B it has 1.26e24 operations, which
# is not 6 N D and less than the row above: a slip for 1.26e25.
TABLE_A3 = [
    (400e6, 2.21e19, 9.2e9),
    (1e9, 1.62e20, 27.1e9),
    (10e9, 2.46e22, 410.1e9),
    (67e9, 1.71e24, 4.1e12),
    (175e9, 1.26e25, 12.0e12),
    (280e9, 3.52e25, 20.1e12),
    (520e9, 1.36e26, 43.5e12),
    (1e12, 5.65e26, 94.1e12),
    (10e12, 8.55e28, 1425.5e12),
]
TABLE_3 = [(400e6, 1.92e19), (1e9, 1.21e20), (10e9, 1.23e22), (67e9, 5.76e23), (1e12, 1.27e26), (10e12, 1.30e28)]


def planted(law, noise=0.0, seed=0):
    """24 runs of four budgets whose losses a law gives, times noise of this size."""
    budgets = np.repeat([1e18, 1e19, 1e20, 1e21], 6)
    parameters = 0.1 * np.sqrt(budgets) * np.tile(np.geomspace(0.2, 5, 6), 4)
    tokens = budgets / 6 / parameters
    draw = np.random.default_rng(seed)
    return Runs.of(parameters, tokens, law(parameters, tokens) * np.exp(draw.normal(0, noise, len(budgets))))


@pytest.mark.parametrize("law, room", [(chinchilla.PUBLISHED, chinchilla), (kaplan.PUBLISHED, kaplan)])
def test_planted_constants_are_found(law, room):
    assert dataclasses.astuple(room.fit(planted(law))) == pytest.approx(dataclasses.astuple(law), rel=1e-4)


def test_planted_constants_lie_in_the_interval_under_noise():
    runs = planted(chinchilla.PUBLISHED, noise=2e-3, seed=2)  # of so few runs the interval misses a constant at times
    fitted = chinchilla.fit(runs)
    names = ("E", "alpha", "beta")
    draws = bootstrap.resample(
        lambda some: [getattr(chinchilla.fit(some, fitted, descents=1), name) for name in names],
        runs, [np.arange(len(runs))], resamples=20,
    )  # fmt: skip
    low, high = bootstrap.interval(draws, level=0.95)
    for name, least, most in zip(names, low, high, strict=True):
        assert least < getattr(chinchilla.PUBLISHED, name) < most and most - least < 0.25


def test_the_published_constants_give_the_published_sizes_and_tokens():
    for parameters, flops, tokens in TABLE_A3:
        found = chinchilla.PUBLISHED.best(flops)
        assert found == (pytest.approx(parameters, rel=0.08), pytest.approx(tokens, rel=0.11))


def test_published_tables_have_the_published_exponents():
    of_first = power.fit(*zip(*[(flops, parameters) for parameters, flops in TABLE_3], strict=True))
    of_third = power.fit(*zip(*[(flops, parameters) for parameters, flops, _ in TABLE_A3], strict=True))
    assert round(of_first.exponent, 2) == 0.50 and round(of_third.exponent, 2) == 0.46  # table 2
    a, b = chinchilla.PUBLISHED.exponents
    assert (round(a, 2), round(b, 2)) == (0.46, 0.54)


def test_the_best_size_is_a_lowest_point():
    law = chinchilla.FITTED_ANEW
    parameters, tokens = law.best(1e21)
    assert 6 * parameters * tokens == pytest.approx(1e21)
    assert all(law(parameters, tokens) < law(parameters * k, tokens / k) for k in (0.97, 1.03))


@pytest.mark.parametrize("law, form", [(chinchilla.PUBLISHED, chinchilla.Form()), (kaplan.PUBLISHED, kaplan.Form())])
def test_the_gradient_is_that_of_finite_differences(law, form):
    runs = planted(law, noise=2e-3)
    value = parametric.objective(form, runs)
    at = law.coefficients(np.log([runs.parameters, runs.tokens]).mean(1)) + 1e-3
    steps = 1e-7 * np.eye(len(at))
    expected = [(value(at + step)[0] - value(at - step)[0]) / 2e-7 for step in steps]
    np.testing.assert_allclose(value(at)[1], expected, rtol=1e-4, atol=1e-3)


def test_one_run_far_off_moves_the_fit_little():
    runs = planted(chinchilla.PUBLISHED)
    runs.losses[5] *= 1.2
    sizes = np.array([1e8, 1e9, 1e10])
    expected = chinchilla.PUBLISHED(sizes, 20 * sizes)
    np.testing.assert_allclose(chinchilla.fit(runs)(sizes, 20 * sizes), expected, rtol=2e-3)


def test_published_figures_of_kaplan():
    assert kaplan.LOSS_OF_PARAMETERS(8.8e13) == kaplan.LOSS_OF_TOKENS(5.4e13) == 1.0
    assert kaplan.LOSS_OF_COMPUTE(kaplan.PF_DAY) == pytest.approx(3.1e8**0.050)
    assert kaplan.BEST_PARAMETERS(kaplan.PF_DAY) == pytest.approx(1.3e9)
    small, large = kaplan.PUBLISHED(1e8, 1e30), kaplan.PUBLISHED(1e30, 1e9)  # where the other is without limit
    assert small == pytest.approx((6.4e13 / 1e8) ** 0.076) and large == pytest.approx((1.8e13 / 1e9) ** 0.103)
    assert kaplan.critical_batch(3.0) == pytest.approx(1.07e6, rel=0.01)
    assert kaplan.loss_after_steps(6.5e13, 2.1e3) == 2.0


@pytest.mark.parametrize(
    "sizes, tokens, losses, message",
    [
        ([1e6, 2e6, 3e6, 4e6], [1e7] * 3 + [2e7], [3.0] * 4, "5 constants and is given 4 runs: train 5 or more"),
        ([1e6] * 6, [1e7 * n for n in range(1, 7)], [3.0] * 6, "differ in parameters; all 6 have 1,000,000"),
        ([1e6 * n for n in range(1, 7)], [1e7] * 6, [3.0] * 6, "differ in tokens; all 6 have 10,000,000"),
        ([1e6] * 6, [1e7] * 6, [3.0, np.nan, *[3.0] * 4], "run 2 of 6 has losses nan"),
        ([1e6] * 6, [1e7] * 6, [3.0, np.inf, *[3.0] * 4], "run 2 of 6 has losses inf"),
        ([1e6] * 5 + [0], [1e7] * 6, [3.0] * 6, "run 6 of 6 has parameters 0"),
        ([1e6] * 5, [1e7] * 6, [3.0] * 6, "5 parameters, 6 tokens, 6 losses"),
    ],
)
def test_what_cannot_be_fitted_is_refused(sizes, tokens, losses, message):
    with pytest.raises(ConfigError, match=message):
        chinchilla.fit(Runs.of(sizes, tokens, losses))
