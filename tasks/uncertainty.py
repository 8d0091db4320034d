"""How sure a score is, and whether two models differ: standard errors and McNemar's test.

The error is that of drawing other examples of the same kind, the model being the same. Examples that are one question
(`group`) are drawn together.
"""

import collections
import math

import numpy as np

from cloze.tasks import metrics
from cloze.tasks.progress import Progress

# Metrics that are means over examples, whose standard error needs no drawing.
_MEANS = (
    "accuracy", "exact_match", "trivia_qa", "squad", "record", "rouge", "last_word_accuracy", "ranking",
    "minimal_pairs", "cloze", "retrieval",
)  # fmt: skip


def standard_errors(task, predictions, examples, resamples=200, seed=0, report=print):
    """The standard error of every metric of a task.

    Of a mean it is the standard deviation over examples, by the root of their number. Of others it is the standard
    deviation over bootstrap resamples (Efron and Tibshirani 1993, chapter 6).

    Args:
        task, predictions, examples: as of `metrics.score`.
        resamples: how often examples are drawn anew, with replacement; 0: errors of such metrics are NaN.
        seed: of what is drawn.
        report: called with how far it has come.

    Returns:
        {metric: float}; NaN where there is one example, or a resample has no value.
    """
    units, found = _units(examples), {}
    means = [name for name in task.metrics if name in _MEANS] if len(units) == len(examples) else []
    if task.kind == "tag":  # accuracy is over words there
        means = []
    for name in means:
        singles = [metrics.one(task, name, [p], [e]) for p, e in zip(predictions, examples, strict=True)]
        for key in singles[0]:
            values = np.array([single[key] for single in singles])
            found[key] = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    others = [name for name in task.metrics if name not in means]
    return found | _bootstrap(task, others, predictions, examples, units, resamples, seed, report) if others else found


def _units(examples):
    """[int array]: the numbers of the examples that are drawn together."""
    groups = collections.defaultdict(list)
    for number, example in enumerate(examples):
        groups[example.get("group", number)].append(number)
    return [np.array(numbers) for numbers in groups.values()]


def _bootstrap(task, names, predictions, examples, units, resamples, seed, report):
    rng, values = np.random.default_rng(seed), collections.defaultdict(list)
    done = Progress(report, f"{task.name}: resamples", resamples)
    drawn = [rng.integers(len(units), size=len(units)) for _ in range(resamples)] if len(units) > 1 else []
    for chosen in drawn:
        numbers = np.concatenate([units[unit] for unit in chosen])
        mine = [predictions[n] for n in numbers], [examples[n] for n in numbers]
        for name in names:
            for key, value in metrics.one(task, name, *mine).items():
                values[key].append(value)
        done(1)
    if not drawn:
        return {key: math.nan for name in names for key in metrics.one(task, name, predictions, examples)}
    return {key: float(np.std(some, ddof=1)) if len(some) > 1 else math.nan for key, some in values.items()}


def right(task, predictions, examples):
    """bool [n], whether each prediction is right; None for kinds whose predictions are neither right nor wrong."""
    name = {
        "class": "accuracy", "choice": "accuracy", "span": "squad", "text": "exact_match", "ranking": "minimal_pairs",
        "cloze": "cloze", "lm": "last_word_accuracy", "embedding": "retrieval",
    }.get(task.kind)  # fmt: skip
    if name is None or (task.kind == "lm" and name not in task.metrics):
        return None
    keys = {"squad": "exact_match", "minimal_pairs": "accuracy", "cloze": "precision_at_1", "retrieval": "recall_at_1"}
    key = keys.get(name, name)
    pairs = zip(predictions, examples, strict=True)
    return np.array([metrics.one(task, name, [p], [e])[key] == 1.0 for p, e in pairs])


def mcnemar(first, second):
    """McNemar's exact test of two models on the same examples (McNemar 1947; Dietterich 1998, section 3.1).

    Args:
        first, second: bool [n], whether each answered rightly.

    Returns:
        (examples that only the first has right, examples that only the second has, two-sided p: how probable so
        unequal a split of these is, were both models equally good).
    """
    import scipy.stats

    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    differing = only_first + only_second
    p = float(scipy.stats.binomtest(only_first, differing).pvalue) if differing else 1.0
    return only_first, only_second, p
