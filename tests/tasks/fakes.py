"""Tasks of every kind, with the examples that a test gives them."""

from cloze.errors import DataError
from cloze.tasks.base import Task


class Fake(Task):
    """A task whose splits are lists of examples."""

    name = "fake"

    def __init__(self, kind, metrics, labels=(), units="", **splits):
        self.kind, self.metrics, self.units, self._labels, self._splits = kind, metrics, units, labels, splits

    def fingerprint(self):
        return "fake"

    def labels(self):
        return self._labels

    def examples(self, split):
        if split not in self._splits:
            raise DataError(f"task {self.name} has no split {split!r}")
        return iter(self._splits[split])
