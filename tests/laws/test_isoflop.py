"""Parabolas of budgets, envelopes of curves, power laws, and draws with replacement."""

import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.laws import bootstrap, isoflop, power
from cloze.laws.runs import Runs

BEST = power.PowerLaw(100.0, 0.49)  # N over C
BUDGETS = (1e17, 1e18, 1e19)


def profile(noise=0.0, seed=0, sizes=(0.3, 0.6, 1.1, 2.0, 4.0)):
    """Runs of three budgets whose losses are parabolas of log N with their lowest points on BEST."""
    draw = np.random.default_rng(seed)
    rows = []
    for budget in BUDGETS:
        for size in sizes:
            parameters = BEST(budget) * size
            loss = 3 - np.log10(budget / 1e17) / 4 + 0.05 * np.log(size) ** 2 + draw.normal(0, noise)
            rows.append((parameters, budget / 6 / parameters, loss))
    return Runs.of(*zip(*rows, strict=True))


def test_planted_lowest_points_are_found():
    found = isoflop.profiles(profile())
    assert found.frontier.parameters.exponent == pytest.approx(0.49)
    assert found.frontier.parameters.exponent + found.frontier.tokens.exponent == pytest.approx(1)
    for parabola, budget in zip(found.parabolas, BUDGETS, strict=True):
        assert parabola.flops == pytest.approx(budget) and parabola.best == pytest.approx(BEST(budget))
        assert parabola.curvature == pytest.approx(0.05) and parabola.inside
        assert parabola(parabola.best) == parabola.lowest == pytest.approx(3 - np.log10(budget / 1e17) / 4)
    assert not isoflop.parabola(profile(sizes=(2, 3, 4)).take(np.arange(3))).inside


def test_the_planted_exponent_lies_in_the_interval_under_noise():
    held = 0
    for seed in range(20):
        runs = profile(noise=0.01, seed=seed)
        draws = bootstrap.resample(
            lambda some: [isoflop.profiles(some).frontier.parameters.exponent], runs, runs.budgets(), 60
        )
        low, high = bootstrap.interval(draws, 0.95)
        held += bool(low[0] < 0.49 < high[0])
    assert held >= 15  # so few runs give intervals that are a little short of 95%


def test_the_envelope_of_curves_finds_the_sizes_that_are_lowest():
    sizes = np.geomspace(1e6, 1e9, 12)
    curves = []
    for size in sizes:  # lowest for C where BEST(C) is this size
        flops = np.geomspace(1e-3, 1e3, 40) * BEST.scale * size ** (1 / BEST.exponent)
        losses = 3 - np.log10(flops) / 10 + 0.05 * np.log(size / BEST(flops)) ** 2
        curves.append(Runs.of(np.full(40, size), flops / 6 / size, losses))
    found = isoflop.envelope(curves)
    assert found.parameters.exponent == pytest.approx(0.49, abs=0.02)
    assert found.tokens.exponent == pytest.approx(0.51, abs=0.02)
    with pytest.raises(ConfigError, match="two sizes or more"):
        isoflop.envelope([curves[0], curves[0]])
    far = Runs.of(curves[1].parameters, curves[1].tokens * 1e12, curves[1].losses)
    with pytest.raises(ConfigError, match="no two training curves"):
        isoflop.envelope([curves[0], far])
    worse = Runs.of(curves[1].parameters, curves[1].tokens, curves[1].losses + 9)
    with pytest.raises(ConfigError, match="at the ends of those trained"):
        isoflop.envelope([curves[0], worse])


def test_runs_of_a_budget_stand_together():
    runs = profile()
    mixed = runs.take(np.random.default_rng(0).permutation(len(runs)))
    assert [sorted({float(f"{flops:.3g}") for flops in mixed.flops[places]}) for places in mixed.budgets()] == [
        [budget] for budget in BUDGETS
    ]


@pytest.mark.parametrize(
    "runs, message",
    [
        (profile(sizes=(0.5, 2)), "runs of 2 sizes; a parabola needs 3"),
        (profile().take(np.arange(5)), "all runs have one budget"),
        (Runs.of([1, 2, 4], [4, 2, 1], [1.0, 2.0, 1.0]), "no lowest point over the sizes 1 to 4"),
    ],
)
def test_what_has_no_profile_is_refused(runs, message):
    with pytest.raises(ConfigError, match=message):
        isoflop.profiles(runs)


@pytest.mark.parametrize(
    "x, y, message",
    [([1, 1], [1, 2], "two places"), ([1, 2], [1, np.nan], "finite"), ([1, 2], [3, 3], "values that differ")],
)
def test_what_no_power_law_goes_through_is_refused(x, y, message):
    with pytest.raises(ConfigError, match=message):
        power.fit(x, y)


def test_draws_stay_within_their_groups_and_repeat():
    runs = profile()
    seen = []
    bootstrap.resample(lambda some: seen.append(some) or [0.0], runs, runs.budgets(), 5, seed=3)
    assert all([len(places) for places in some.budgets()] == [5, 5, 5] for some in seen)
    assert any(len(np.unique(some.parameters)) < 15 for some in seen)
    first, again = (bootstrap.resample(lambda some: [some.losses.mean()], runs, runs.budgets(), 5) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_spread_that_cannot_be_known_is_refused():
    runs = profile(sizes=(0.5, 1, 2))

    with pytest.raises(ConfigError, match="over 9 runs cannot be known, because .*sizes; a parabola needs 3"):
        bootstrap.resample(lambda some: [isoflop.profiles(some).frontier.tokens.scale], runs, runs.budgets(), 20)
