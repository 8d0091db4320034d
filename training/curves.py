"""Scores against the number of examples that are shown, over several draws of them."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from cloze.training.evaluation import Evaluation


def curve(evaluate: Callable[[int, int | None], Evaluation], counts: Sequence[int], draws: int) -> Evaluation:
    """Scores a task with every number of shown examples.

    Args:
        evaluate: (number of examples, number of the draw or None for the first ones) -> Evaluation.
        counts: of examples.
        draws: how often examples are drawn, for each number of them but 0; 0: the first ones are shown, once.

    Returns:
        The Evaluation of the last number and its first draw, with `shots` where there is more than one. A spread is the
        standard deviation over draws, NaN of a single one.
    """
    found, last = {}, None
    for count in counts:
        numbers = range(draws) if count and draws else [None]
        results = [evaluate(count, number) for number in numbers]
        last = results[0]
        if last.scores:
            found[f"{count} shot{'' if count == 1 else 's'}"] = _summary([result.scores for result in results])
    if last.scores and (len(counts) > 1 or draws > 1):
        return dataclasses.replace(last, shots=found)
    return last


def _summary(scores):
    """({metric: mean}, {metric: standard deviation}) of several scores."""
    values = {metric: [one[metric] for one in scores] for metric in scores[0]}
    spread = {metric: float(np.std(some, ddof=1)) if len(some) > 1 else math.nan for metric, some in values.items()}
    return {metric: float(np.mean(some)) for metric, some in values.items()}, spread
