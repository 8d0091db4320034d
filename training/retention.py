"""Which checkpoints of a run stay: the newest, some for good, the best."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orbax.checkpoint import v1 as ocp

from cloze.errors import ConfigError
from cloze.options import suggest

PREFIX = "validation/"  # of the metrics that a checkpoint may be the best by


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint, as Orbax's policies ask for it.

    Attributes:
        step: updates made.
        metrics: {"validation/NAME": value} at this step; {}: it was not validated.
    """

    step: int
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Best:
    """What makes a checkpoint the best: a metric, and whether its lowest or its highest value is."""

    metric: str
    highest: bool = False

    def of(self, saved: Sequence[Saved]) -> int | None:
        """The step of the best one, of equal ones the newest; None: none has the metric."""
        sign = 1 if self.highest else -1
        ranked = [(sign * one.metrics[self.metric], one.step) for one in saved if self.metric in one.metrics]
        return max(ranked)[1] if ranked else None


@dataclasses.dataclass(frozen=True)
class Retention:
    """What stays when a new checkpoint is whole.

    Attributes:
        keep: so many of the newest.
        regular: steps between the checkpoints of a run that nothing disturbs. The newest of these stays, because
            train.on_divergence=rewind goes back to it; None: they are not told apart.
        keep_every: those at multiples of so many steps, for good; None: none.
        best: the best one; None: none.
    """

    keep: int
    regular: int | None = None
    keep_every: int | None = None
    best: Best | None = None

    def kept(self, saved: Sequence[Saved]) -> set[int]:
        """The steps that stay, of checkpoints in the order of their steps."""
        policies, named = ocp.training.preservation_policies, []
        if self.regular is not None:
            named += [one.step for one in saved if one.step % self.regular == 0][-1:]
        if self.best is not None and (best := self.best.of(saved)) is not None:
            named.append(best)
        chosen = [policies.LatestN(self.keep), policies.CustomSteps(named)]
        if self.keep_every is not None:
            chosen.append(policies.EveryNSteps(self.keep_every))
        stays = policies.AnyPreservationPolicy(chosen).should_preserve(saved, context=policies.PreservationContext())
        return {one.step for one, yes in zip(saved, stays, strict=True) if yes}


def check_best(best: str, names: Iterable[str]) -> None:
    """Refuses a checkpoint.best that is none of the metrics of validation with these names.

    Raises:
        ConfigError: lists them.
    """
    known = [f"{PREFIX}{name}" for name in names]
    if best not in known:
        hint = suggest(best, known) or "."
        raise ConfigError(f"checkpoint.best={best} is no metric of this run{hint} Known: {', '.join(known)}")


def best_of(options: Any) -> Best | None:
    """The Best of a configuration's section `checkpoint`; None where none is kept."""
    return Best(options.best, options.best_is == "highest") if options.best else None
