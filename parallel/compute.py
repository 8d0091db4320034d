"""How much computing a model takes, and which model a budget of computing is best spent on."""

import dataclasses
import math
from collections.abc import Callable

from cloze.laws import chinchilla, kaplan
from cloze.laws.kaplan import PF_DAY
from cloze.laws.runs import training_flops


@dataclasses.dataclass(frozen=True)
class Published:
    """A model whose size and training are published; `parameters` and `tokens` are numbers of them."""

    name: str
    parameters: float
    tokens: float
    source: str

    @property
    def flops(self) -> float:
        """Operations of its training by 6 N D."""
        return training_flops(self.parameters, self.tokens)


PUBLISHED = (
    Published("GPT-3", 175e9, 300e9, "arXiv:2005.14165"),
    Published("LaMDA", 137e9, 168e9, "arXiv:2201.08239, as arXiv:2203.15556 table 1"),
    Published("Jurassic-1", 178e9, 300e9, "Lieber et al. 2021"),
    Published("Gopher", 280e9, 300e9, "arXiv:2112.11446"),
    Published("MT-NLG", 530e9, 270e9, "arXiv:2201.11990"),
    Published("Chinchilla", 70e9, 1.4e12, "arXiv:2203.15556"),
    Published("Llama 1 65B", 65.2e9, 1.4e12, "arXiv:2302.13971"),
    Published("Llama 2 70B", 70e9, 2e12, "arXiv:2307.09288"),
    Published("Llama 3 8B", 8.03e9, 15e12, "arXiv:2407.21783"),
    Published("Llama 3.1 405B", 405e9, 15.6e12, "arXiv:2407.21783"),
)


@dataclasses.dataclass(frozen=True)
class Fit:
    """A law of how large a model a budget should train.

    Attributes:
        name, source: what it is called and where it stands.
        parameters: function of operations C that gives the best N.
        loss: function of (N, D) that gives nats per token, or None.
    """

    name: str
    source: str
    parameters: Callable[[float], float]
    loss: Callable[[float, float], float] | None = None

    def best(self, flops: float) -> tuple[float, float]:
        """(N, D) that spend `flops` best: D = C / 6 N."""
        parameters = self.parameters(flops)
        return parameters, flops / 6 / parameters


def _parametric(name, source, law):
    """The calculator's fit of a law of N and D."""
    return Fit(name, source, lambda flops: law.best(flops)[0], law)


FITS = (
    Fit("Kaplan", "arXiv:2001.08361, table 6: N = 1.3e9 C^0.73, C in PF-days", kaplan.BEST_PARAMETERS),
    _parametric("Chinchilla", "arXiv:2203.15556, approach 3", chinchilla.PUBLISHED),
    _parametric("Chinchilla, fitted anew", "arXiv:2404.10102", chinchilla.FITTED_ANEW),
    Fit("20 tokens a parameter", "arXiv:2203.15556, approaches 1 and 2 at 6e23", lambda c: math.sqrt(c / 120)),
)


def lines(
    flops: float, optimal: bool, rate: float | None = None, chips: int = 0, price: float | None = None
) -> list[str]:
    """A budget for people.

    Args:
        flops: the budget C, operations.
        optimal: also what it is spent on best, by each fit.
        rate: operations a second of all chips together as they are reached; None: no days.
        chips: how many, for the price.
        price: of a chip for an hour.
    """
    text = [f"{flops:.3g} operations, {flops / PF_DAY:.3g} PF-days"]
    if rate:
        days = flops / rate / 86400
        text[0] += f": {days:.3g} days, {days * 24 * chips:,.0f} chip-hours"
        text[0] += f", {days * 24 * chips * price:,.0f} at {price:g} for a chip-hour" if price else ""
    if optimal:
        text.append(f"{'best spent on, by':<26}  parameters    tokens  tokens each   loss")
        for fit in FITS:
            n, d = fit.best(flops)
            loss = f"{fit.loss(n, d):7.3f}" if fit.loss else "      -"
            text.append(f"  {fit.name:<24}  {_short(n):>10}  {_short(d):>8}  {d / n:>11.1f}  {loss}   {fit.source}")
    text.append(f"{'published':<26}  parameters    tokens  tokens each  6 N D    of this budget")
    for model in PUBLISHED:
        text.append(
            f"  {model.name:<24}  {_short(model.parameters):>10}  {_short(model.tokens):>8}  "
            f"{model.tokens / model.parameters:>11.1f}  {model.flops:.2e}  {model.flops / flops:8.3g}x"
        )
    return text


def to_dict(flops: float) -> dict:
    """A budget as JSON has it."""
    best = {fit.name: dict(zip(("parameters", "tokens"), fit.best(flops), strict=True)) for fit in FITS}
    published = {m.name: {"parameters": m.parameters, "tokens": m.tokens, "flops": m.flops} for m in PUBLISHED}
    return {"flops": flops, "pf_days": flops / PF_DAY, "optimal": best, "published": published}


def _short(number):
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
