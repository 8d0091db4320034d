"""Labelled examples: the texts of a task, tokenised once and kept in the cache like corpora."""

import hashlib
import json
import pathlib

import numpy as np

from data import artifacts, corpus_files
from data.corpus import ranges
from errors import ConfigError, DataError

FORMAT = 1  # counted up when the same task and tokenizer come to give other ids
_TEXTS_PER_CALL = 256


class Examples:
    """A task's examples in both splits.

    A text is held out by the same rule, and for the same share, as a corpus's documents are: what was held out from
    pretraining on the same texts is what finetuning is judged by, and no text is in both splits.

    Attributes:
        name: fingerprint of the prepared examples.
        directory: where they are.
        labels: names of the labels.

    Raises:
        DataError: a split has no example.
    """

    def __init__(self, task, tokenizer, cache_dir, *, validation_share, report):
        parts = [FORMAT, task.name, task.fingerprint(), tokenizer.hash, float(validation_share)]
        self.name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        self.directory = pathlib.Path(cache_dir).expanduser() / "examples" / self.name

        def make():
            report(f"tokenising the examples of the task {task.name}")
            return _tokenise(task, tokenizer, validation_share), {"labels": list(task.labels())}

        arrays, facts = artifacts.prepare(self.directory, make, report)
        self.labels = tuple(facts["labels"])
        self._splits = {}
        for split in corpus_files.SPLITS:
            mine = {key: arrays[f"{split}_{key}"] for key in ("ids", "offsets", "labels")}
            self._splits[split] = Split(split, mine, tokenizer.vocab_size)
            if not len(mine["labels"]):
                raise DataError(
                    f"the {split} split of task {task.name} is empty with data.validation_share={validation_share}: "
                    "change it"
                )

    def split(self, name):
        """The Split "train" or "validation"."""
        return self._splits[name]


class Split:
    """The examples of one split: `ids` int32 of all texts end to end, `offsets` int64 [n + 1], `labels` int32 [n]."""

    def __init__(self, name, arrays, vocab_size):
        self.name, self._vocab_size = name, vocab_size
        self.ids, self.offsets, self.labels = arrays["ids"], arrays["offsets"], arrays["labels"]

    @property
    def counts(self):
        """int64 [vocab_size]: how often each id occurs."""
        return np.bincount(self.ids, minlength=self._vocab_size)

    @property
    def majority(self):
        """Share of the most frequent label."""
        return float(np.bincount(self.labels).max() / len(self.labels))


class Rows:
    """A row an example: its first tokens, as many as there is room for, between `start` and `end`, and padding.

    `rows(indices [n], epochs [n])` gives `tokens` and `segments` int32 [n, length], 1 and on padding 0, and `labels`
    int32 [n].

    Raises:
        ConfigError: `length` leaves no room for text.
    """

    def __init__(self, split, length, start=(), end=(), pad=0):
        self._split, self._length, self._pad = split, length, pad
        self._start, self._end = tuple(start), tuple(end)
        self._capacity = length - len(self._start) - len(self._end)
        if self._capacity < 1:
            raise ConfigError(
                f"rows of {length} tokens have no room for text beside {length - self._capacity} special tokens: "
                "raise data.sequence_length"
            )
        self.num_rows = len(split.labels)

    def rows(self, indices, epochs):
        indices = np.asarray(indices, np.int64)
        n, starts = len(indices), self._split.offsets[indices]
        sizes = np.minimum(self._split.offsets[indices + 1] - starts, self._capacity)
        base = np.arange(n) * self._length
        wrapped = sizes + len(self._start) + len(self._end)
        tokens = np.full(n * self._length, self._pad, np.int32)
        segments = np.zeros(n * self._length, np.int32)
        segments[ranges(base, wrapped)] = 1
        tokens[ranges(base + len(self._start), sizes)] = self._split.ids[ranges(starts, sizes)]
        for k, token in enumerate(self._start):
            tokens[base + k] = token
        for k, token in enumerate(self._end):
            tokens[base + len(self._start) + sizes + k] = token
        return {
            "tokens": tokens.reshape(n, self._length),
            "segments": segments.reshape(n, self._length),
            "labels": self._split.labels[indices],
            "row_id": indices.astype(np.int32),
            "epoch": np.asarray(epochs, np.int32),
        }


def _tokenise(task, tokenizer, validation_share):
    """{"<split>_ids", "<split>_offsets", "<split>_labels"}; texts without a token are left out."""
    found = {split: ([], []) for split in corpus_files.SPLITS}
    examples = list(task.examples())
    for first in range(0, len(examples), _TEXTS_PER_CALL):
        some = examples[first : first + _TEXTS_PER_CALL]
        encoded = tokenizer.encode_batch([text for text, _ in some])
        for (text, label), ids in zip(some, encoded, strict=True):
            if len(ids):
                of_split = found["validation" if corpus_files.is_held_out(text, validation_share) else "train"]
                of_split[0].append(np.asarray(ids, np.int32))
                of_split[1].append(label)
    arrays = {}
    for split, (texts, labels) in found.items():
        arrays[f"{split}_ids"] = np.concatenate([*texts, np.zeros(0, np.int32)]).astype(np.int32)
        arrays[f"{split}_offsets"] = np.concatenate([[0], np.cumsum([len(ids) for ids in texts])]).astype(np.int64)
        arrays[f"{split}_labels"] = np.array(labels, np.int32)
    return arrays
