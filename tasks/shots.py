"""Examples with answers in front of a prompt, from which a model may see what is asked for (Brown et al. 2020, 2.4)."""

import copy
import itertools

from cloze.errors import DataError

BETWEEN = "\n\n"  # examples; an answer ends where the next example would begin


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
