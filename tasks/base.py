"""What every task is: labelled examples as they are distributed, and what is measured on them."""

import abc
import dataclasses

from cloze.options import BY_HAND, GIVEN, Name, Path, option

KINDS = ("class", "regression", "tag", "span", "choice", "embedding", "text", "lm")
PROBES = ("ranking", "cloze")  # kinds that a model is judged by as it is, and not finetuned on
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Section `task`."""

    name: Name = option(
        "",
        'the task whose labelled examples are read (tasks/), or several that are mixed, "sst2,mnli", which only '
        "text to text can (responses); empty: none",
    )
    files: Path = option(
        "",
        "folder of the plain files in which a public benchmark is distributed; empty: tensorflow-datasets",
        changes=BY_HAND,
    )
    kind: str = option(
        "",
        "what is learned of an example; empty: as the task says. A task of classes can be read as text, with words for "
        "labels (T5), pairs of the same meaning as embedding",
        choices=("", *KINDS),
    )
    labels: tuple[Name, ...] = option(
        (), "names of the classes or tags, in the order of the head's scores; filled in from the task"
    )
    limit: int = option(
        0,
        "labelled training examples that are used, drawn by `seed`; 0: all",
        needs={"name": GIVEN},
        least=0,
        most=2**31 - 1,
    )
    batching: str = option(
        "auto",
        "how texts of different lengths make a batch, which has the same examples in any case: pad (to "
        "data.sequence_length), buckets (to the least of a few lengths that holds the batch), pack (side by side), or "
        "auto, which packs where the model and the task allow it and has buckets elsewhere",
        choices=("auto", "pad", "buckets", "pack"),
    )
    markers: bool = option(
        False, "decoders: GPT-1's new tokens START, DELIM and EXTRACT around texts, not the one that ends them"
    )
    both_orders: bool = option(False, "pairs are read in both orders, whose states are added (GPT-1's similarity)")
    stride: int = option(128, "tokens by which the windows over a long context move on (span)", least=1)
    max_question: int = option(64, "tokens of a question at most (span)", least=0)
    max_answer: int = option(30, "tokens of an answer at most (span)", least=1)
    n_best: int = option(20, "starts and ends of answers that are combined (span)", least=1, most=1000)
    null_threshold: float = option(
        0.0,
        "no answer is given where its score exceeds the best answer's by more than this (span)",
        least=-1e9,
        most=1e9,
    )
    instructions: bool = option(
        False,
        'text: a single task whose examples are texts also has words in front that ask for it, "summarize: ..." (T5); '
        "tasks of other kinds and tasks that are mixed always have them",
    )
    largest_share: int = option(
        2**16,
        "examples that a task counts for at most when several are mixed (T5: K, 2^16 to 2^21)",
        least=1,
        most=2**31 - 1,
    )


class Task(abc.ABC):
    """Labelled examples of one kind.

    An example is a dict. Every one may have an `id` (str); besides, by kind:
        class       text, text_b (pairs only), label (int, the number of its name in `labels()`); group (str) where
                    several examples are one question (MultiRC)
        regression  text, text_b (pairs only), label (float)
        tag         words (list of str), tags (list of int, as long)
        span        question, context, answers: a tuple of (text, first character in the context), () where there is
                    none
        choice      context, choices (tuple of str), label (int); what is read is each choice behind the context
        embedding   texts (tuple of str): an anchor, what belongs to it, and texts that do not but seem to, if any
        text        inputs, targets (str); references (tuple of str, what an answer is held against; absent: the
                    targets). Or turns instead of both: a tuple of (role, text), of which those of "assistant" are
                    learned
        lm          text
        ranking     texts (tuple of str), of which a model should find number `label` (int) the most probable
        cloze       text with one [MASK], answer
    Of the last two, `paradigm` (str) names what an example belongs to, where scores are given for each.
    A label that is not known (the test splits of GLUE) is None; so are tags, answers, targets, the text of a last turn.

    Attributes:
        name: as in task.name.
        kind: one of KINDS or PROBES.
        metrics: names in tasks.metrics.METRICS, the one that counts first.
        same: of pairs, the label of those whose texts mean the same (a word of `labels()`, of regression the least
            number), so that vectors can be learned of them (tasks.vectors); None: there is none.
        units: of kind lm, what results are given by (tasks.metrics.units).
    """

    name: str
    kind: str
    metrics: tuple[str, ...]
    same: str | float | None = None

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
