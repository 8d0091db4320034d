"""Labelled examples: those of a task, turned into features once and kept in the cache like corpora.

A feature is what a model reads at once: an example, or of long contexts a window over one (`data.encoding`).
"""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from cloze.data import artifacts, encoding
from cloze.data.example_batches import ExampleBatches
from cloze.data.order import Epochs, Once
from cloze.data.poisson import Drawing
from cloze.data.rows import Rows
from cloze.errors import ConfigError, DataError

FORMAT = 2  # counted up when the same task, tokenizer and layout come to give other arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples(Rows):
    """The labelled examples of a task; `data.example_rows.fill` says what their rows hold.

    Attributes:
        layout: how examples become tokens.
        batching: how examples of different lengths make a batch: pad, buckets or pack.
    """

    kind = "examples"
    layout: encoding.Layout
    batching: str = "buckets"

    def open(self, config, tokenizer, split, tasks, report):
        if len(tasks) > 1 and self.layout.kind != "text":
            raise ConfigError(
                f"task.name={config.task.name}: only texts can be mixed, as all tasks have the same head then; set "
                "objective.name=responses and task.kind=text, or task.name to one task"
            )
        if config.data.mixture_schedule:
            raise ConfigError(
                "data.mixture_schedule is of text, and this objective reads the examples of task.name: leave it out"
            )
        features = [prepare(task, tokenizer, self.layout, split, config.data.cache_dir, report) for task in tasks]
        if split == "train":
            features = [one.limited(config.task.limit, config.seed) for one in features]
        return features, [min(one.num_used, config.task.largest_share) for one in features]

    def batches(self, config, sources, weights, split, multiple):
        sizes, size = [len(source.used) for source in sources], config.train.batch_size
        if split != "train":
            order = Once(sizes, size)
        elif config.finetune.dp_clip_norm:
            self._check_private(config, sources)
            order = Drawing(sizes[0], seed=config.seed, batch_size=size, multiple=multiple)
        else:
            order = Epochs(sizes, weights, seed=config.seed, size=size, shuffle=True)
        options = {"batching": self._batching(split), "length": self.length, "pad": self.pad, "multiple": multiple}
        return ExampleBatches(sources, order, **options)

    def _check_private(self, config, sources):
        if len(sources) > 1 or self.batching == "pack":
            raise ConfigError(
                f"finetune.dp_clip_norm={config.finetune.dp_clip_norm}: private training reads one task, an example a "
                "row; set task.name to one task, and task.batching to buckets"
            )

    def _batching(self, split):
        """Predictions are made row by row."""
        return "buckets" if self.batching == "pack" and split != "train" else self.batching

    def covered(self, config, split):
        options = [split, self.length, self.pad, self._batching(split)]
        return options + ([config.task.limit] if config.task.limit else [])

    def summary(self, config, sources, split):
        majority = sources[0].majority if len(sources) == 1 else None
        classes = f" of {len(sources[0].labels)} labels, {majority[1]:.1%} of them {majority[0]}" if majority else ""
        return (
            f"task {config.task.name}, {sum(source.num_used for source in sources):,} {split} examples{classes}; rows "
            f"of at most {self.length} tokens ({self._batching(split)})"
        )


class Features:
    """The features of one split of a task, n of them.

    Attributes:
        directory: where they are kept; None: nowhere.
        layout: encoding.Layout, how they were made.
        labels: names of the labels.
        arrays: {name: array}, see `data.encoding.encode`.
        num_examples: examples that they were made of.
        used: int64 [m], the numbers of the features that are read, ascending: all, or those of `task.limit` examples.
        lengths: int64 [texts], tokens of each text.
        sizes: int64 [n], tokens of each feature's longest text.
        texts: the most texts of a feature.
    """

    def __init__(self, arrays, layout, num_examples, labels=(), directory=None):
        self.directory, self.layout, self.labels = directory, layout, tuple(labels)
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
        labels = labels[labels >= 0]
        if not len(labels):
            return None
        counts = np.bincount(labels)
        return self.labels[counts.argmax()], float(counts.max() / len(labels))

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
        less = Features(self.arrays, self.layout, self.num_examples, self.labels, self.directory)
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
    return Features(arrays, layout, facts["examples"], facts["labels"], directory)
