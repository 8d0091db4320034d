"""What every task is: labelled examples as they are distributed, and what is measured on them."""

import abc

KINDS = ("class", "regression", "tag", "span", "choice", "text", "lm")
SPLITS = ("train", "validation", "test")


class Task(abc.ABC):
    """Labelled examples of one kind.

    An example is a dict. Every one may have an `id` (str); besides, by kind:
        class       text, text_b (pairs only), label (int, the place of its name in `labels()`); group (str) where
                    several examples are one question (MultiRC)
        regression  text, text_b (pairs only), label (float)
        tag         words (list of str), tags (list of int, as long)
        span        question, context, answers: a tuple of (text, first character in the context), () where there is
                    none
        choice      context, choices (tuple of str), label (int); what is read is each choice behind the context
        text        inputs, targets (str); references (tuple of str, what an answer is held against; absent: the
                    targets). Or turns instead of both: a tuple of (role, text), of which those of "assistant" are
                    learned
        lm          text
    A label that is not known (the test splits of GLUE) is None; so are tags, answers, targets, the text of a last turn.

    Attributes:
        name: as in task.name.
        kind: one of KINDS.
        metrics: names in tasks.metrics.METRICS, the one that counts first.
        units: of kind lm, what results are given by (tasks.metrics.units).
    """

    name: str
    kind: str
    metrics: tuple[str, ...]

    @abc.abstractmethod
    def fingerprint(self):
        """A hash (hex) that changes when the examples would; cheap, reads as few of them as possible."""

    @abc.abstractmethod
    def labels(self):
        """The names of the labels or tags, in order; () for other kinds."""

    @abc.abstractmethod
    def examples(self, split):
        """Yields the examples of a split in a fixed order.

        Args:
            split: one of SPLITS.

        Raises:
            DataError: the task has no such split, or its files are missing or wrong: which, and what to do.
        """
