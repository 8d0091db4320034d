"""A task for a head that has learned its labels in another order: names say which score is which."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from cloze.tasks.base import Task


def places(names: Sequence[str], learned: Sequence[str]) -> list[int] | None:
    """The place of each name among those that a head has learned; None: they are not the same names.

    One may be spelled ENTAILMENT: where the names differ, they are compared without their case.
    """
    ours, theirs = list(names), list(learned)
    if set(ours) != set(theirs):
        ours, theirs = ([name.casefold() for name in both] for both in (ours, theirs))
    if set(ours) != set(theirs) or not len(set(ours)) == len(ours) == len(theirs):
        return None
    return [theirs.index(name) for name in ours]


class Ordered(Task):
    """A task of classes or tags with its labels in another order.

    Attributes:
        task: the Task as it is.
        columns: the place of each of its labels among those of this one.
    """

    def __init__(self, task: Task, columns: Sequence[int]):
        self.task, self.columns = task, list(columns)
        self.name, self.kind, self.metrics = task.name, task.kind, task.metrics

    def fingerprint(self) -> str:
        return hashlib.sha256(f"ordered {self.columns} {self.task.fingerprint()}".encode()).hexdigest()

    def labels(self) -> tuple[str, ...]:
        names = self.task.labels()
        return tuple(names[self.columns.index(place)] for place in range(len(names)))

    def examples(self, split: str) -> Iterator[dict[str, Any]]:
        for example in self.task.examples(split):
            changed = {"label": self._place(example["label"])} if self.kind == "class" else {}
            if self.kind == "tag" and example["tags"] is not None:
                changed = {"tags": [self._place(tag) for tag in example["tags"]]}
            yield {**example, **changed}

    def _place(self, number):
        known = isinstance(number, int) and 0 <= number < len(self.columns)
        return self.columns[number] if known else number  # what is not known or wrong is told of later
