"""Public benchmarks as tasks: read from their own files or from tensorflow-datasets, described by a table of specs."""

import dataclasses
import functools
import hashlib
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

from cloze.data import sources
from cloze.errors import DataError
from cloze.options import suggest
from cloze.tasks import readers
from cloze.tasks.base import SPLITS, Task
from cloze.tasks.readers import Record

FORMAT = 2  # part of every fingerprint: raise it when the same files come to give other examples


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a split in the folder `task.files`.

    Attributes:
        read: paths -> records, whose fields have the names that tensorflow-datasets gives them.
        names: of the files that `read` takes, each with other names behind bars ("train.tsv|data/train.tsv"); `*`
            stands for any characters, and all files that match are read in the order of their names.
    """

    read: Callable[..., Iterable[Record]]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a benchmark is made of.

    Attributes:
        name, kind: see tasks.base.Task.
        metrics: the same; where they depend on the labels, a function of those.
        tfds: {split: data set of tensorflow-datasets with its split}; {}: it has none.
        files: {split: Files}.
        fields: of a record: for classes and regression, the one or two texts.
        example: record -> example without its label; None: `fields` are `text` and `text_b`.
        label: field of the label (class, regression, choice).
        labels: of classes and tags their names, of choices the words for the first, second, ...; None: the words in the
            training split, sorted.
        words: {word in files: label} for words that are not labels themselves; the label "" is one that is not known.
        flatten: record -> records, where one holds several examples.
        same: see tasks.base.Task.
        drop_unlabelled: leave out examples without a label (on which the annotators did not agree).
        units: of an lm task, what its results are given by: see tasks.metrics.units.
        prefix: in T5's text format, the task's name if it is another one; of a text task, the words before the inputs.
        written: the fields of a record that are written there, in order; (): `fields` by name.
    """

    name: str
    kind: str
    metrics: tuple[str, ...] | Callable[[tuple[str, ...]], tuple[str, ...]]
    files: Mapping[str, Files]
    tfds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fields: tuple[str, ...] = ()
    example: Callable[[Record], dict] | None = None
    label: str = "label"
    labels: tuple[str, ...] | None = ()
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flatten: Callable[[Record], Iterable[Record]] | None = None
    same: str | float | None = None
    drop_unlabelled: bool = False
    units: str = ""
    prefix: str = ""
    written: tuple[str, ...] = ()


class Benchmark(Task):
    """A task that a Spec describes.

    Attributes:
        spec: the Spec.
        units: see Spec.
    """

    def __init__(self, spec, files="", tfds_dir=""):
        self.spec, self.name, self.kind = spec, spec.name, spec.kind
        self.units, self.same = spec.units, spec.same
        self._files, self._tfds_dir = files and pathlib.Path(os.path.expanduser(files)), tfds_dir
        self._labels = spec.labels

    @property
    def metrics(self):
        """See tasks.base.Task."""
        return self.spec.metrics(self.labels()) if callable(self.spec.metrics) else self.spec.metrics

    def fingerprint(self):
        """See tasks.base.Task; of the splits that are there.

        Raises:
            DataError: none is.
        """
        parts, missing = [], None
        for split in self._splits():
            try:
                parts.append((split, *self._state(split)))
            except DataError as error:
                missing = missing or error
        if not parts:
            raise missing
        return hashlib.sha256(repr((FORMAT, self.name, parts)).encode()).hexdigest()

    def _state(self, split):
        """What changes when the split does, wherever its folder is."""
        if not self._files:
            return [self._tfds(split).fingerprint()]
        stats = [(path, path.stat()) for path in self._paths(split)]
        return [
            (path.relative_to(self._files).as_posix(), _content(path, stat.st_size, stat.st_mtime_ns))
            for path, stat in stats
        ]

    def labels(self):
        if self.kind not in ("class", "tag"):
            return ()
        if self._labels is None:
            self._labels = self._labels_in_training()
        return self._labels

    def _labels_in_training(self):
        words = set()
        for record in self.records("train"):
            if self.kind == "tag":
                words.update(self._example(record)["tags"] or ())
            else:
                words.add(_word(record[self.spec.label], record))
        if len(words) < 2:
            raise DataError(
                f"the train split of {self.name} has {len(words)} different labels; two or more are needed to learn "
                "anything: is it the right field?"
            )
        return tuple(sorted(words))

    def records(self, split):
        """Yields the records of a split as they are distributed, one an example, in the order of `examples`.

        Raises:
            DataError: see `examples`.
        """
        if split not in self._splits():
            raise DataError(
                f"{self.name} has no {split} split{' in files' if self._files else ''}; there are "
                f"{', '.join(self._splits())}" + self._other_way(split)
            )
        if self._files:
            records = self.spec.files[split].read(*map(str, self._paths(split)))
        else:
            records = readers.prepared(self.spec.tfds[split], self._tfds_dir)
        number = 0
        for group in records:
            for record in self.spec.flatten(group) if self.spec.flatten else (group,):
                if not (self.spec.drop_unlabelled and record[self.spec.label] in (None, "-")):
                    number += 1
                    yield record
        if not number:
            raise DataError(f"the {split} split of {self.name} is empty: {self._where(split)}")

    def examples(self, split):
        for number, record in enumerate(self.records(split)):
            yield self.finish(record, number, split)

    def finish(self, record, number, split):
        """The example of a record: see tasks.base.Task.

        Raises:
            DataError: a field is missing, or a label is unknown.
        """
        example = {"id": str(record.get("id", record.get("idx", number)))} | self._example(record)
        example = Record(example, record.where)
        _check_texts(example)
        if self.kind in ("class", "choice", "regression"):
            value = record.get(self.spec.label) if split == "test" else record[self.spec.label]
            if self.kind == "regression":
                example["label"] = self._score(value, record)
            elif self.kind == "choice":  # what has no words for the first, second, ... has its number
                numbers = [str(number) for number in range(len(example["choices"]))]
                example["label"] = self._number(value, self.spec.labels or numbers, record)
            else:
                example["label"] = self._number(value, self.labels(), record)
        elif self.kind == "tag":
            words, tags = example["words"], example["tags"]
            if tags is not None and len(words) != len(tags):
                raise DataError(f"{record.where}: {len(words)} words and {len(tags)} tags; each word has one tag")
            example["tags"] = tags and [self._number(tag, self.labels(), record) for tag in tags]
        return example

    def _example(self, record):
        if self.spec.example:
            return self.spec.example(record)
        return {key: record[field] for key, field in zip(("text", "text_b"), self.spec.fields, strict=False)}

    def _number(self, value, labels, record):
        """The number of a label in `labels`; None where there is none."""
        word = "" if value is None else _word(value, record)
        word = self.spec.words.get(word, word)
        if not word or (word == "-1" and word not in labels):
            return None
        if word not in labels:
            raise DataError(
                f"{record.where}: unknown label {word!r}{suggest(word, labels) or ';'} {self.name} has "
                f"{', '.join(labels[:50])}{', ...' if len(labels) > 50 else ''}: "
                "is the line cut off, or the file of another task?"
            )
        return labels.index(word)

    def _score(self, value, record):
        if value is None or self.spec.words.get(str(value)) == "":
            return None
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise DataError(f"{record.where}: the label {value!r} is not a number, as {self.name} needs")
        return score

    def _splits(self):
        readable = self.spec.files if self._files else self.spec.tfds
        if not readable:
            expected = ", ".join(" ".join(files.names) for files in self.spec.files.values())
            raise DataError(
                f"{self.name} is not in tensorflow-datasets: set task.files to the folder with its files ({expected})"
            )
        return [split for split in SPLITS if split in readable]

    def _other_way(self, split):
        """A hint for a split that there is, but not in what is read."""
        if self._files and split in self.spec.tfds:
            return "; tensorflow-datasets has it: leave task.files empty"
        return "; its files do: set task.files" if not self._files and split in self.spec.files else ""

    def _where(self, split):
        return ", ".join(map(str, self._paths(split))) if self._files else self.spec.tfds[split]

    def _tfds(self, split):
        return sources.TfdsSource(f"tfds:{self.spec.tfds[split]}", self.spec.tfds[split], "", self._tfds_dir)

    def _paths(self, split):
        paths = []
        for names in self.spec.files[split].names:
            matches = next(filter(None, (sorted(self._files.glob(name)) for name in names.split("|"))), None)
            if not matches:
                expected = " or ".join(names.split("|"))
                raise DataError(
                    f"task.files={str(self._files)!r} holds no {expected}, which the {split} split of {self.name} is "
                    f"read from (looked in {self._files.absolute()}); unpack the benchmark there"
                    + ("" if not self.spec.tfds else ", or leave task.files empty to read tensorflow-datasets")
                )
            paths += matches
        return paths


def _check_texts(example):
    """Refuses an example whose texts are something else, which no tokenizer takes."""
    texts = {
        field: (example[field],) for field in ("text", "text_b", "question", "context", "inputs") if field in example
    }
    texts |= {field: example[field] for field in ("choices", "words", "texts") if field in example}
    for field, values in texts.items():
        if wrong := [value for value in values if not isinstance(value, str)]:
            raise DataError(
                f"{example.where}: {field} is {wrong[0]!r}, where text is expected: is the file of this task, and in "
                "the format it is distributed in?"
            )


@functools.cache
def _content(path, size, modified):
    """A hash of a file's content, read once in a process unless its size or time of modification changes."""
    del size, modified
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _word(value, record):
    """The word for a label: JSON's true and false are True and False."""
    if isinstance(value, str):
        return value
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise DataError(f"{record.where}: the label {value!r} is no word; expected text, a number, true or false")
    return str(value)
