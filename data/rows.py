"""Rows of fixed length: what an objective asks for, planned over a prepared corpus, read from anywhere in any order.

A spec (`Windows`, `FullSentences`, `Documents`, `data.pairs.Pairs`, `data.cooccurrences.Cooccurrences`,
`data.examples.Examples`) is a frozen dataclass that an objective fills in. It opens what it reads, and gives batches.
"""

import abc
import array
import bisect
import dataclasses
from typing import Any, ClassVar

import numpy as np

from cloze.data import corpus, sources
from cloze.data.batches import Batches
from cloze.data.corpus import ranges
from cloze.data.mixture import schedule_of
from cloze.data.order import Epochs
from cloze.data.packing import pack
from cloze.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows(abc.ABC):
    """What all rows have in common.

    Attributes:
        kind: name of the kind.
        length: tokens in a row, special tokens included.
        pad: id that fills rows up.
        flags: rows also give the corpus's flags of each token (not all kinds can).
        entities: names, dates and numbers are flagged when the corpus is prepared (likewise).
    """

    kind: ClassVar[str]
    flags: ClassVar[bool] = False
    entities: ClassVar[bool] = False
    length: int
    pad: int = 0

    @abc.abstractmethod
    def open(self, config, tokenizer, split: str, tasks, report) -> tuple[list, list]:
        """Opens what the rows are read from; it is prepared if it is not there yet.

        Args:
            config, tokenizer, split, tasks, report: as of `data.pipeline.open_batches`.

        Returns:
            (sources, their weights). A source has `directory`, where what was prepared is; and `counts`, int64 [V],
            how often each id occurs in the text.

        Raises:
            ConfigError, DataError: options or data that do not go together, or are missing.
        """

    @abc.abstractmethod
    def batches(self, config, sources: list, weights: list, split: str, multiple: int):
        """Batches of what `open` gave: `data.batches.Batches`, or another object with the same methods."""

    def names(self, config, split: str) -> list[str]:
        """Of the sources, as users know them; []: they are not validated one by one."""
        del config, split
        return []

    @abc.abstractmethod
    def covered(self, config, split: str) -> list:
        """What the fingerprint of a run's data covers beside the sources and their weights."""

    @abc.abstractmethod
    def summary(self, config, sources: list, split: str) -> str:
        """What is read, in a few words for the console."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRows(Rows):
    """Rows of text.

    Attributes:
        document_end: id appended to each document when a corpus is prepared, or None.
    """

    document_end: int | None = None

    @abc.abstractmethod
    def plan(self, split: corpus.TokenStream, *, seed: int = 0, report=print) -> "RowSource":
        """Plans the rows of a corpus.

        Args:
            split: data.corpus.TokenStream.
            seed: decides what is drawn at random, if anything is.
            report: called with progress messages.

        Returns:
            A RowSource.

        Raises:
            ConfigError: `length` leaves no room for text.
            DataError: the split cannot fill a row.
        """

    def open(self, config, tokenizer, split, tasks, report):
        del tasks
        apart = bool(config.data.validation_source)
        options = {"document_end": self.document_end, "entities": self.entities, "report": report}
        options["validation_share"] = 0.0 if apart else config.data.validation_share
        planned, weights = [], []
        for source, weight in sources.of_split(config.data, split):
            text = corpus.prepare(source, tokenizer, config.data.cache_dir, **options)
            planned.append(self.plan(text.split("train" if apart else split), seed=config.seed, report=report))
            weights.append(weight)
        return planned, weights

    def batches(self, config, sources, weights, split, multiple):
        del multiple  # train.batch_size is one
        options = {"seed": config.seed, "size": config.train.batch_size}
        if split == "train":
            options["schedule"] = schedule_of(config, len(sources))
        sizes = [source.num_rows for source in sources]
        return Batches(sources, Epochs(sizes, weights, shuffle=split == "train", **options))

    def names(self, config, split):
        return [source.name for source, _ in sources.of_split(config.data, split)]

    def covered(self, config, split):
        schedule = config.data.mixture_schedule if split == "train" else ()
        return [self.described(), *([list(schedule)] if schedule else [])]

    def described(self) -> dict[str, Any]:
        """The options that a fingerprint covers.

        The first seven are those of the first version, whatever the kind. Later ones are left out at their defaults:
        earlier runs keep their fingerprint.
        """
        options = {"kind": self.kind, "length": self.length, "start": (), "end": (), "pad": self.pad}
        options |= {"short_pair_rate": 0.0, "swapped": False}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in options or (field.name != "document_end" and value != field.default):
                options[field.name] = value
        return options

    def summary(self, config, sources, split):
        tokens = sum(source.split.num_tokens for source in sources)
        changes = schedule_of(config, len(sources)) if split == "train" else ()
        weights = f", other weights from step {' and '.join(f'{step:,}' for step, _ in changes)} on" if changes else ""
        return f"{config.data.source}{weights}, {tokens:,} {split} tokens, rows of {self.length} ({self.kind})"


class RowSource(abc.ABC):
    """The rows of a spec over one corpus.

    Attributes:
        spec: TextRows.
        split: data.corpus.TokenStream.
        num_rows: rows of one epoch.
    """

    num_rows: int

    def __init__(self, spec, split):
        self.spec, self.split = spec, split

    @abc.abstractmethod
    def rows(self, indices, epochs) -> dict[str, np.ndarray]:
        """Reads rows, a pure function of their numbers: any in any order.

        Args:
            indices, epochs: int [n].

        Returns:
            What the spec says, int32 with a leading dimension of n, among it `row_id` [n] (the index) and `epoch` [n].
        """

    @property
    def directory(self):
        return self.split.directory

    @property
    def counts(self):
        return self.split.counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows(TextRows):
    """Row i is the i-th stretch of the token stream, between `start` and `end`; the ragged tail is left out.

    `rows(indices [n], epochs [n])` gives `tokens` int32 [n, length], and where asked for the `flags` of the tokens,
    of the same shape and 0 on special tokens; the bits are in `data.corpus_files`.

    Attributes:
        start, end: ids around each stretch.
        overlap: tokens that a stretch has in common with the one before.
    """

    kind = "windows"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    flags: bool = False
    entities: bool = False
    overlap: int = 0

    def plan(self, split, *, seed=0, report=print):
        del seed, report
        return WindowRows(self, split)


class WindowRows(RowSource):
    """The row source of `Windows`."""

    def __init__(self, spec, split):
        super().__init__(spec, split)
        self._capacity = _capacity(spec)
        self._stride = self._capacity - spec.overlap
        self.num_rows = max(0, (split.num_tokens - spec.overlap) // self._stride)
        if not self.num_rows:
            raise DataError(
                f"the {split.name} split of {split.source} has {split.num_tokens} tokens, fewer than one row of "
                f"{self._capacity}: lower data.sequence_length or give more text"
            )

    def rows(self, indices, epochs):
        starts = np.asarray(indices, np.int64) * self._stride
        text, flags = self.split.gather(starts, starts + self._capacity)
        n, start, end = len(starts), self.spec.start, self.spec.end
        around = [np.broadcast_to(np.asarray(ids, np.int32), (n, len(ids))) for ids in (start, end)]
        arrays = {"tokens": np.concatenate([around[0], text.reshape(n, self._capacity), around[1]], axis=1)}
        if self.spec.flags:
            flags = flags.reshape(n, self._capacity).astype(np.int32)
            arrays["flags"] = np.pad(flags, ((0, 0), (len(start), len(end))))
        return arrays | _identity(indices, epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullSentences(TextRows):
    """Full sentences in the order of the text, as many as fit: RoBERTa's FULL-SENTENCES (Liu et al. 2019, section 4.2).

    A row may go on in the next document; then `end` stands between the two, as it does at the end of the row. A
    sentence longer than a row is cut into pieces, which are treated like sentences. Every token of the split is in one
    row exactly. `rows(indices [n], epochs [n])` gives int32 [n, length]: `tokens`; `segments`, 1 and on padding 0; and
    where asked for the `flags` of the tokens, 0 on special tokens and padding; the bits are in `data.corpus_files`.

    Attributes:
        start, end: ids around each row.
    """

    kind = "sentences"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    flags: bool = False
    entities: bool = False

    def plan(self, split, *, seed=0, report=print):
        del seed, report
        return SentenceRows(self, split)


class SentenceRows(RowSource):
    """The row source of `FullSentences`."""

    def __init__(self, spec, split):
        super().__init__(spec, split)
        capacity = _capacity(spec)
        starts, sizes = _pieces(np.concatenate([[0], split.sentence_ends()]), capacity)
        document = np.searchsorted(split.document_offsets, starts, side="right")
        begins = starts + len(spec.end) * document  # in one endless row
        self._starts = np.append(starts[_first_of_rows(begins, begins + sizes, capacity)], split.num_tokens)
        self.num_rows = len(self._starts) - 1

    def rows(self, indices, epochs):
        spec, indices = self.spec, np.asarray(indices, np.int64)
        n, starts, stops = len(indices), self._starts[indices], self._starts[indices + 1]
        sizes, separator = stops - starts, len(spec.end)
        first = np.cumsum(sizes) - sizes  # of each row's tokens among all
        document = np.searchsorted(self.split.document_offsets, ranges(starts, sizes), side="right")
        crossed = document - np.repeat(document[first], sizes)  # ends of documents in the row up to each token
        base = np.arange(n) * spec.length + len(spec.start)
        positions = ranges(base, sizes) + separator * crossed
        behind = positions[first + sizes - 1] + 1
        enters = np.flatnonzero(np.diff(crossed, prepend=0) > 0)  # tokens that begin a document within a row

        tokens = np.full(n * spec.length, spec.pad, np.int32)
        segments, flags = np.zeros((2, n * spec.length), np.int32)
        for k, token in enumerate(spec.start):
            tokens[base - len(spec.start) + k] = token
        for k, token in enumerate(spec.end):
            tokens[np.concatenate([positions[enters] - separator, behind]) + k] = token
        tokens[positions], flags[positions] = self.split.gather(starts, stops)
        segments[ranges(base - len(spec.start), behind + separator - base + len(spec.start))] = 1
        arrays = {"tokens": tokens, "segments": segments} | ({"flags": flags} if spec.flags else {})
        return {k: v.reshape(n, spec.length) for k, v in arrays.items()} | _identity(indices, epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Documents(TextRows):
    """Whole documents side by side in rows, packed best fit decreasing; longer ones are cut into pieces.

    Each piece lies between `start` and `end`. Every token of the split is in one row exactly. `rows(indices [n],
    epochs [n])` gives int32 [n, length]: `tokens`; `segments`, 1, 2, ... for the pieces of a row and 0 on padding;
    `positions`, which begin at 0 in each piece and are 0 on padding.
    """

    kind = "documents"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    def plan(self, split, *, seed=0, report=print):
        del seed, report
        return DocumentRows(self, split)


class DocumentRows(RowSource):
    """The row source of `Documents`."""

    def __init__(self, spec, split):
        super().__init__(spec, split)
        self._starts, self._sizes = _pieces(split.document_offsets, _capacity(spec))
        row = _by_first_piece(pack(self._sizes + len(spec.start) + len(spec.end), spec.length))
        order = np.argsort(row, kind="stable")  # within a row, pieces keep the order of the text
        self._starts, self._sizes = self._starts[order], self._sizes[order]
        pieces_per_row = np.bincount(row)
        self.num_rows = len(pieces_per_row)
        self._first = np.concatenate([[0], np.cumsum(pieces_per_row)])

    def rows(self, indices, epochs):
        spec, indices = self.spec, np.asarray(indices, np.int64)
        n, first = len(indices), self._first[indices]
        pieces_per_row = self._first[indices + 1] - first
        piece, owner = ranges(first, pieces_per_row), np.repeat(np.arange(n), pieces_per_row)
        starts, sizes = self._starts[piece], self._sizes[piece]
        wrapped = sizes + len(spec.start) + len(spec.end)
        filled = np.cumsum(wrapped) - wrapped  # by the pieces before, over all rows and then over this row alone
        filled -= np.repeat(filled[np.cumsum(pieces_per_row) - pieces_per_row], pieces_per_row)
        base = owner * spec.length + filled

        tokens = np.full(n * spec.length, spec.pad, np.int32)
        segments, positions = np.zeros((2, n * spec.length), np.int32)
        everything = ranges(base, wrapped)
        positions[everything] = ranges(np.zeros_like(wrapped), wrapped)
        segments[everything] = np.repeat(piece - np.repeat(first, pieces_per_row) + 1, wrapped)
        tokens[ranges(base + len(spec.start), sizes)] = self.split.gather(starts, starts + sizes)[0]
        for k, token in enumerate(spec.start):
            tokens[base + k] = token
        for k, token in enumerate(spec.end):
            tokens[base + len(spec.start) + sizes + k] = token
        arrays = {"tokens": tokens, "segments": segments, "positions": positions}
        return {k: v.reshape(n, spec.length) for k, v in arrays.items()} | _identity(indices, epochs)


PACKINGS = {spec.kind: spec for spec in (Windows, FullSentences, Documents)}  # by data.packing


def _pieces(offsets, capacity):
    """Documents or sentences -> starts and sizes of pieces of at most `capacity` tokens, in the order of the text."""
    lengths = np.diff(offsets)
    count = -(-lengths // capacity)
    within = ranges(np.zeros_like(count), count) * capacity
    sizes = np.minimum(np.repeat(lengths, count) - within, capacity)
    return np.repeat(offsets[:-1], count) + within, sizes


def _first_of_rows(begins, ends, capacity):
    """Pieces [begins, ends), in order -> those that begin a row, when each row takes as many as fit in `capacity`."""
    begins, ends = (array.array("q", part.tobytes()) for part in (begins, ends))  # faster to search than numpy's
    rows, piece = [], 0
    while piece < len(ends):
        rows.append(piece)
        piece = bisect.bisect_right(ends, begins[piece] + capacity, piece)
    return rows


def _by_first_piece(row):
    """Renumbers rows by their first piece, so that the first rows are not those of the longest documents."""
    _, first, inverse = np.unique(row, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _capacity(spec):
    special = len(spec.start) + len(spec.end)
    if spec.length <= special:
        raise ConfigError(
            f"rows of {spec.length} tokens have no room for text beside {special} special tokens: raise "
            "data.sequence_length"
        )
    return spec.length - special


def _identity(indices, epochs):
    return {"row_id": np.asarray(indices, np.int32), "epoch": np.asarray(epochs, np.int32)}
