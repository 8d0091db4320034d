"""Examples with answers in front of a prompt, from which a model may see what is asked for (Brown et al. 2020, 2.4)."""

import copy
import dataclasses
import itertools

import numpy as np

from cloze.errors import ConfigError, DataError

BETWEEN = "\n\n"  # examples; an answer ends where the next example would begin


LABELS = ("gold", "random", "permuted")


@dataclasses.dataclass(frozen=True)
class InContext:
    """Which examples are shown, with which answers, and how answers are compared.

    Attributes:
        draw: number of the draw of the examples; None: the first ones.
        labels: the answers that are shown (Min et al. 2022, section 4.1): gold ones; random ones, each drawn among the
            labels; or permuted ones, those of the shown examples dealt out anew, so that each occurs as often.
        scoring: one of tasks.label_scores.SCORINGS.
    """

    draw: int | None = None
    labels: str = "gold"
    scoring: str = "auto"


FIRST = InContext()  # the first examples with their own answers


def chosen(examples, count, name, how, words=()):
    """The training examples that are shown.

    Fewer of them are the first of more, so that accuracy against their number differs by what is added alone.

    Args:
        examples: iterable of training examples of kind text.
        count: how many.
        name: of the task.
        how: InContext.
        words: the labels that random answers are drawn among; an example's own `choices` come before them.

    Returns:
        list of `count` examples.

    Raises:
        DataError: there are fewer.
        ConfigError: the task has no labels to draw among, or answers that belong to one example.
    """
    rng = np.random.default_rng([0 if how.draw is None else how.draw, 1])
    if how.draw is None:
        shown = first(examples, count, name)
    else:
        everything = list(examples)
        if len(everything) < count:
            first(everything, count, name)
        shown = [everything[n] for n in rng.permutation(len(everything))[:count]]
    if how.labels == "gold":
        return shown
    rng = np.random.default_rng([0 if how.draw is None else how.draw, 2])
    if how.labels == "permuted":
        if any("choices" in one for one in shown):
            raise ConfigError(f"--shot_labels=permuted: the choices of task {name} belong to one example; use random")
        targets = [shown[n]["targets"] for n in rng.permutation(count)]
    else:
        if any(not (one.get("choices") or words) for one in shown):
            raise ConfigError(f"--shot_labels=random: task {name} has no labels to draw among; use permuted")
        targets = [str(rng.choice(one.get("choices") or words)) for one in shown]
    return [_changed(one, targets=target) for one, target in zip(shown, targets, strict=True)]


def first(examples, count, name):
    """The first `count` of a task's training examples.

    Raises:
        DataError: there are fewer.
    """
    shown = list(itertools.islice(examples, count))
    if len(shown) < count:
        raise DataError(f"task {name} has {len(shown)} training examples: lower --num_shots={count}")
    return shown


def show(example, shots, fits):
    """An example of kind text with others in front of its prompt: as many as fit, the first ones.

    A dialogue has their turns in front of its own; where there is too little room, it is cut at its beginning.

    Args:
        example: of kind text.
        shots: examples of kind text, with answers.
        fits: str -> whether a prompt has room.

    Returns:
        (the example, how many of the shots are in front).

    Raises:
        DataError: dialogues and other examples are mixed.
    """
    if any(("turns" in shot) != ("turns" in example) for shot in shots):
        raise DataError("--num_shots puts examples in front of each other, which must all have turns, or none of them")
    if "turns" in example:
        turns = [turn for shot in shots for turn in shot["turns"]]
        return _changed(example, turns=(*turns, *example["turns"])), len(shots)
    written = [answered(shot["inputs"], shot["targets"]) + BETWEEN for shot in shots]
    for count in range(len(shots), -1, -1):
        inputs = "".join(written[:count]) + example["inputs"]
        if not count or fits(inputs):
            return _changed(example, inputs=inputs), count


def _changed(example, **fields):
    """A copy of an example with other fields, from the same file and line."""
    changed = copy.copy(example)
    changed.update(fields)
    return changed


def answered(prompt, answer):
    """A prompt and its answer as one text, with a space between them where neither has white space there."""
    parted = not prompt or prompt[-1].isspace() or answer[:1].isspace()
    return prompt + answer if parted else f"{prompt} {answer}"


def cut(answer):
    """What is written before another example begins."""
    return answer.strip().partition(BETWEEN)[0].strip()
