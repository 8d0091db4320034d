"""Labelled examples: those of a task, turned into features once and kept in the cache like corpora.

A feature is what a model reads at once: an example, or of long contexts a window over one (`tasks.encoding`).
"""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from cloze.data import artifacts
from cloze.data.rows import Rows
from cloze.errors import DataError
from cloze.tasks import encoding

FORMAT = 2  # counted up when the same task, tokenizer and layout come to give other arrays


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a labelled example becomes tokens; what it is made of is in tasks.base.

    Attributes:
        kind: class, regression, tag, span, choice or text.
        architecture: of the model.
        length: tokens of a text at most, these special ones included.
        start: ids before the first text.
        separator: ids between two texts.
        end: ids behind the last; of targets, too.
        pool: place that classifiers of whole texts read: "first" or "last" token; "all": they read every place.
        types: whether tokens of a second text have type 1.
        both_orders: pairs are read in both orders.
        stride, max_question: of windows over long contexts, in tokens (span).
        target_length: tokens of an answer at most (text); of decoders 0: as many as the row has room for.
        loss_on_inputs: decoders predict prompts, too (text).
        target_start: ids before an answer, which count to neither its tokens nor `target_length` (text,
            encoder-decoders).
        decoder_start: id that the decoder of an encoder-decoder reads first.
        full_prefix: the tokens of a decoder's prompt see each other in both directions (text).
        cut_left: prompts that are too long lose their beginning, not their end, as what is continued is that (text).
    """

    kind: str
    architecture: str
    length: int
    start: tuple[int, ...] = ()
    separator: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    pool: str = "first"
    types: bool = False
    both_orders: bool = False
    stride: int = 128
    max_question: int = 64
    target_length: int = 0
    loss_on_inputs: bool = False
    target_start: tuple[int, ...] = ()
    decoder_start: int = 0
    full_prefix: bool = False
    cut_left: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples(Rows):
    """The labelled examples of a task; `data.example_rows.fill` says what their rows hold.

    Attributes:
        layout: how examples become tokens.
        batching: how examples of different lengths make a batch: pad, buckets or pack.
    """

    kind = "examples"
    layout: Layout
    batching: str = "buckets"


class Features:
    """The features of one split of a task, n of them.

    Attributes:
        name: fingerprint of the prepared arrays.
        directory: where they are kept; None: nowhere.
        layout: Layout, how they were made.
        labels: names of the labels.
        arrays: {name: array}, see `tasks.encoding.encode`.
        num_examples: examples that they were made of.
        used: int64 [m], the numbers of the features that are read, ascending: all, or those of `task.limit` examples.
        lengths: int64 [texts], tokens of each text.
        sizes: int64 [n], tokens of each feature's longest text.
        texts: the most texts of a feature.
    """

    def __init__(self, arrays, layout, num_examples, labels=(), name="", directory=None):
        self.name, self.directory, self.layout, self.labels = name, directory, layout, tuple(labels)
        self.arrays, self.num_examples = arrays, num_examples
        self.used = np.arange(len(arrays["example"]))
        self.lengths = np.diff(arrays["offsets"])
        first = arrays["first_text"]
        self.sizes = np.maximum.reduceat(self.lengths, first[:-1]) if len(first) > 1 else np.zeros(0, np.int64)
        self.texts = int(np.diff(first).max(initial=1))

    @property
    def counts(self):
        """int64 [V]: how often each id occurs in the texts, V being the highest id and 1."""
        return np.bincount(self.arrays["tokens"])

    @property
    def num_used(self):
        """How many examples the features that are read are of."""
        return len(np.unique(self.arrays["example"][self.used]))

    @property
    def majority(self):
        """(name, share) of the most frequent class among the labels that are known; None without any."""
        labels = self.arrays["labels"][self.used] if self.layout.kind == "class" else np.zeros(0, np.int32)
        known = labels[labels >= 0]
        if not len(known):
            return None
        counts = np.bincount(known)
        return self.labels[counts.argmax()], float(counts.max() / len(known))

    @property
    def target_lengths(self):
        """int64 [n]: tokens of each answer with its start; 0 where there are no separate answers."""
        if "target_offsets" not in self.arrays:
            return np.zeros(len(self.sizes), np.int64)
        return np.diff(self.arrays["target_offsets"]) + len(self.layout.target_start)

    def limited(self, limit, seed):
        """The features of the first `limit` examples (0: of all) of a permutation by `seed`: subsets are nested."""
        if not limit or limit >= self.num_examples:
            return self
        chosen = np.random.default_rng(seed).permutation(self.num_examples)[:limit]
        less = Features(self.arrays, self.layout, self.num_examples, self.labels, self.name, self.directory)
        less.used = np.flatnonzero(np.isin(self.arrays["example"], chosen))
        return less


def prepare(task, tokenizer, layout, split, cache_dir, report):
    """The Features of a split of a task, which are made if they are not in the cache.

    Args:
        task: tasks.Task.
        tokenizer: data.tokenizers.Tokenizer.
        layout: Layout.
        split: one of tasks.base.SPLITS.
        cache_dir: root of the cache.
        report: called with progress messages.

    Raises:
        DataError: the task has no such split, it is empty, or an example of it is wrong.
    """
    parts = [FORMAT, encoding.FORMAT, task.name, task.fingerprint(), tokenizer.hash, dataclasses.asdict(layout), split]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    directory = pathlib.Path(cache_dir).expanduser() / "examples" / name

    def make():
        report(f"tokenising the {split} examples of the task {task.name}")
        examples, labels = list(task.examples(split)), list(task.labels())
        if not examples:
            raise DataError(
                f"task.name={task.name} has no {split} examples: the file of that split is empty, give one that is not"
            )
        arrays = encoding.encode(examples, tokenizer, layout, labels, training=split == "train")
        return arrays, {"labels": labels, "examples": len(examples)}

    arrays, facts = artifacts.prepare(directory, make, report)
    for line in encoding.describe(arrays, layout):
        report(f"{task.name}, {split}: {line}")
    if not len(arrays["example"]):
        raise DataError(f"none of the {facts['examples']} {split} examples of task.name={task.name} has a token")
    return Features(arrays, layout, facts["examples"], facts["labels"], name, directory)
