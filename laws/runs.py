"""What a law is fitted to: runs, each with its parameters, its tokens and the loss that it ended with."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloze.errors import ConfigError

SAME_BUDGET = 0.1  # budgets that differ by less than this share are one


def training_flops(parameters, tokens):
    """C = 6 N D: two operations for each parameter and token forward, four backward (arXiv:2001.08361, section 2.1).

    Args:
        parameters: N, a number or an array.
        tokens: D, likewise.

    Returns:
        Operations, as `parameters` and `tokens` broadcast.
    """
    return 6 * parameters * tokens


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs.

    Attributes:
        parameters: float64 [R], N of each run.
        tokens: float64 [R], D.
        losses: float64 [R], nats a token, on text that no run was trained on.
    """

    parameters: np.ndarray
    tokens: np.ndarray
    losses: np.ndarray

    @classmethod
    def of(cls, parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float]) -> "Runs":
        """Runs from three lists of one number for each run.

        Raises:
            ConfigError: lists of several lengths, or a number that is not finite or not above 0.
        """
        lists = {"parameters": parameters, "tokens": tokens, "losses": losses}
        arrays = {name: np.asarray(values, np.float64).ravel() for name, values in lists.items()}
        if len({len(values) for values in arrays.values()}) > 1:
            told = ", ".join(f"{len(values)} {name}" for name, values in arrays.items())
            raise ConfigError(f"a law needs parameters, tokens and a loss of each run; it is given {told}")
        for name, values in arrays.items():
            if (bad := ~(np.isfinite(values) & (values > 0))).any():
                raise ConfigError(
                    f"run {int(np.argmax(bad)) + 1} of {len(values)} has {name} {values[bad][0]:g}: a law is fitted to "
                    "numbers above 0; leave out the runs that have diverged"
                )
        return cls(**arrays)

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def flops(self) -> np.ndarray:
        """float64 [R]: 6 N D."""
        return training_flops(self.parameters, self.tokens)

    def take(self, places: np.ndarray) -> "Runs":
        """The runs at some places, int [n]."""
        return Runs(self.parameters[places], self.tokens[places], self.losses[places])

    def budgets(self) -> list[np.ndarray]:
        """Places of the runs that spent as much, int [n] for each budget, the smallest budget first."""
        order = np.argsort(self.flops, kind="stable")
        cuts = np.flatnonzero(np.diff(np.log(self.flops[order])) > SAME_BUDGET) + 1
        return np.split(order, cuts)


def check_count(runs: Runs, constants: int, law: str) -> None:
    """Refuses fewer runs than constants, and runs of one size or one length only.

    Raises:
        ConfigError: names what is missing.
    """
    if len(runs) < constants:
        raise ConfigError(f"{law} has {constants} constants and is given {len(runs)} runs: train {constants} or more")
    for name, values in (("parameters", runs.parameters), ("tokens", runs.tokens)):
        if len(np.unique(values)) == 1:
            raise ConfigError(
                f"{law} needs runs that differ in {name}; all {len(runs)} have {values[0]:,.0f}: add others"
            )
