"""A study of scaling laws: runs of several sizes for each of several budgets, and the laws fitted to them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloze.laws import bootstrap, chinchilla, isoflop, kaplan
from cloze.laws.runs import Runs
from cloze.parallel import compute
from cloze.parallel.cost import human
from cloze.sweeps.study import Outcome, Study, wrapped

FACTOR = 10.0  # the larger budget over the largest that was trained


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """The laws of runs, and how far they may be off.

    Attributes:
        runs: what they are fitted to.
        profiles: approach 2.
        law: approach 3.
        draws: (the two of runs drawn with replacement), bootstrap.RESAMPLES of them.
    """

    runs: Runs
    profiles: isoflop.Profiles
    law: chinchilla.Law
    draws: tuple[tuple[isoflop.Profiles, chinchilla.Law], ...]

    def band(self, number) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper) of what `number(profiles, law)` is over the draws: the middle 80%."""
        return bootstrap.interval(np.array([number(*draw) for draw in self.draws]))


def fit(points: Sequence[tuple[float, float, float]], resamples: int = bootstrap.RESAMPLES) -> Fitted:
    """The laws of runs, with draws of the runs of each budget.

    Args:
        points: (parameters, tokens, loss) of each run.
        resamples: draws.

    Raises:
        ConfigError: see `isoflop.profiles`, `chinchilla.fit` and `bootstrap.resample`.
    """
    runs = Runs.of(*zip(*points, strict=True)) if points else Runs.of([], [], [])
    law, profiles = chinchilla.fit(runs), isoflop.profiles(runs)
    draws: list = []

    def both(some):
        draws.append((isoflop.profiles(some), chinchilla.fit(some, law, descents=2)))
        return ()

    bootstrap.resample(both, runs, runs.budgets(), resamples)
    return Fitted(runs, profiles, law, tuple(draws))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingStudy(Study):
    """A study whose runs are sizes for budgets; what it finds are the laws through them.

    Attributes:
        resamples: draws of the runs, for bands.
    """

    metric: str = "validation/loss"
    lower_is_better: bool = True
    resamples: int = bootstrap.RESAMPLES

    def findings(self, outcome: Outcome) -> list[str]:
        """Tables of the runs, of the best size of each budget, of the fits, and of a budget ten times as large.

        Raises:
            ConfigError: see `fit`.
        """
        found = fit(outcome.runs, self.resamples)
        share = f"{bootstrap.LEVEL:.0%}"
        return [
            *_runs(found.runs),
            "",
            wrapped(
                "N: all parameters, D: tokens, C = 6 N D. The best size of each budget is the lowest point of a "
                f"parabola of the loss over log N; in brackets the middle {share} over {len(found.draws)} draws of "
                "the runs of each budget with replacement:"
            ),
            "",
            *_best(found),
            "",
            "The best size and length over the budget, N ~ C^a and D ~ C^b:",
            "",
            *_exponents(found),
            "",
            wrapped(f"Approach 3 here: {_constants(found)}."),
            "",
            wrapped(
                f"What {FACTOR * found.profiles.parabolas[-1].flops:.3g} operations, {FACTOR:g} times the largest "
                "budget, are best spent on; losses of published fits are of other text and other pieces:"
            ),
            "",
            *_larger(found),
        ]


def _table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _runs(runs):
    rows = []
    for places in runs.budgets():
        lowest = runs.losses[places].min()
        for place in sorted(places, key=lambda one: runs.parameters[one]):
            n, d, loss = runs.parameters[place], runs.tokens[place], runs.losses[place]
            shown = f"**{loss:.4f}**" if loss == lowest else f"{loss:.4f}"
            rows.append([f"{runs.flops[place]:.3g}", human(n), human(d), f"{d / n:.1f}", shown])
    return _table(["C", "N", "D", "D / N", "loss"], rows)


def _best(found):
    rows = []
    for number, one in enumerate(found.profiles.parabolas):
        low, high = found.band(lambda profiles, law, at=number: profiles.parabolas[at].best)
        told = "" if one.inside else ", outside the sizes that were trained"
        by_law = found.law.best(one.flops)[0]
        rows.append([f"{one.flops:.3g}", f"{human(one.best)} ({human(low)} to {human(high)}){told}",
                     human(one.flops / 6 / one.best), f"{one.lowest:.4f}", human(by_law)])  # fmt: skip
    return _table(["C", "best N", "D", "loss there", "best N by approach 3"], rows)


def _exponents(found):
    def row(name, a, b, numbers=None):
        if numbers is None:
            return [name, f"{a:.2f}", f"{b:.2f}"]
        (a_low, b_low), (a_high, b_high) = found.band(numbers)
        return [name, f"{a:.2f} ({a_low:.2f} to {a_high:.2f})", f"{b:.2f} ({b_low:.2f} to {b_high:.2f})"]

    frontier = found.profiles.frontier
    return _table(["", "a", "b"], [
        row("parabolas, approach 2, here", frontier.parameters.exponent, frontier.tokens.exponent,
            lambda profiles, law: (profiles.frontier.parameters.exponent, profiles.frontier.tokens.exponent)),
        row("E + A / N^alpha + B / D^beta, approach 3, here", *found.law.exponents,
            lambda profiles, law: law.exponents),
        row("Hoffmann et al., approach 2", *chinchilla.EXPONENTS_OF_PROFILES),
        row("Hoffmann et al., approach 3", *chinchilla.PUBLISHED.exponents),
        row("Kaplan et al.", *_kaplan()),
    ])  # fmt: skip


def _kaplan():
    exponent = kaplan.BEST_PARAMETERS.exponent
    return exponent, 1 - exponent


def _constants(found):
    def shown(name):
        low, high = found.band(lambda profiles, law: getattr(law, name))
        return f"{name} {getattr(found.law, name):.3g} ({low:.3g} to {high:.3g})"

    errors = np.log(found.law(found.runs.parameters, found.runs.tokens) / found.runs.losses)
    return (
        f"{', '.join(map(shown, ('E', 'A', 'alpha', 'B', 'beta')))}; it is {np.abs(errors).mean():.1%} off on average"
    )


def _larger(found):
    flops = FACTOR * found.profiles.parabolas[-1].flops

    def banded(value, number):
        low, high = found.band(number)
        return f"{human(value)} ({human(low)} to {human(high)})"

    def of_profiles(profiles, law):
        return profiles.frontier.parameters(flops)

    def of_law(profiles, law):
        return law.best(flops)[0]

    rows = []
    for name, number in (("approach 2, here", of_profiles), ("approach 3, here", of_law)):
        n = number(found.profiles, found.law)
        d = flops / 6 / n
        tokens = banded(d, lambda *draw, of=number: flops / 6 / of(*draw))
        rows.append([name, banded(n, number), tokens, f"{d / n:.1f}", ""])
    low, high = found.band(lambda profiles, law: law(*law.best(flops)))
    rows[-1][-1] = f"{found.law(*found.law.best(flops)):.3f} ({low:.3f} to {high:.3f})"
    for one in compute.FITS:
        n, d = one.best(flops)
        rows.append([one.name, human(n), human(d), f"{d / n:.1f}", f"{one.loss(n, d):.3f}" if one.loss else ""])
    return _table(["by", "N", "D", "D / N", "loss"], rows)
