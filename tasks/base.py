"""What every task is."""

import abc


class Task(abc.ABC):
    """Texts, each with one of a few labels.

    Attributes:
        name: as in task.name.
    """

    name: str

    @abc.abstractmethod
    def fingerprint(self):
        """A hash (hex) that changes when the examples would; cheap, reads none of them."""

    @abc.abstractmethod
    def labels(self):
        """The names of the labels; a label is the place of its name."""

    @abc.abstractmethod
    def examples(self):
        """Yields (text, label) in a fixed order; no text comes twice."""
