"""Rows of fixed length, planned over a prepared corpus and read from anywhere in any order.

`plan` gives a row source: `num_rows`, the rows of one epoch, and `rows(indices, epochs)`, a pure function from row
numbers to arrays. Every kind gives int32 arrays with a leading dimension of n rows, among them `row_id` [n] (the
index) and `epoch` [n].
"""

import array
import bisect

import numpy as np

from cloze.data.cooccurrences import Cooccurrences
from cloze.data.corpus import ranges
from cloze.data.pairs import Pairs
from cloze.errors import ConfigError, DataError


def plan(
    split, *, kind, length, start=(), end=(), pad=0, short_pair_rate=0.1, swapped=False, random_rate=0.5,
    two_sentences=False, flags=False, entities=False, window=0, overlap=0, excluded=(), seed=0, report=print,
):  # fmt: skip
    """Plans the rows that an objective reads.

    Args:
        split: a `data.corpus.Split`.
        kind: "windows" over concatenated text, full "sentences" on end, whole "documents" side by side, or sentence
            "pairs".
        length: tokens per row.
        start, end: ids put around each window or piece; for pairs ([CLS],) and ([SEP],).
        pad: id of padding.
        flags: windows and sentences also give the flags of each token; other kinds do not use it.
        short_pair_rate, swapped, random_rate, two_sentences, seed: see `data.pairs.Pairs`; as above.
        entities: not used here: the corpus was prepared with them or not.
        overlap: see `Windows`; other kinds do not use it.
        window, excluded, report: see `data.cooccurrences.Cooccurrences`; other kinds do not use them.

    Returns:
        A row source: `num_rows` and `rows(indices, epochs)`.

    Raises:
        ConfigError: `kind` is unknown, or `length` leaves no room for text.
        DataError: the split cannot fill a row.
    """
    if kind == "windows":
        return Windows(split, length, start, end, flags=flags, overlap=overlap)
    if kind == "sentences":
        return FullSentences(split, length, start, end, pad, flags=flags)
    if kind == "documents":
        return Documents(split, length, start, end, pad)
    if kind == "pairs":
        negatives = {"swapped": swapped, "random_rate": random_rate, "two_sentences": two_sentences}
        return Pairs(split, length, start, end, pad, short_pair_rate=short_pair_rate, **negatives, seed=seed)
    if kind == "cooccurrences":
        return Cooccurrences(split, length, window, excluded, report)
    raise ConfigError(f"unknown kind of rows {kind!r}; there are windows, sentences, documents, pairs, cooccurrences")


class Windows:
    """Row i is the i-th stretch of the token stream, between `start` and `end`; the ragged tail is left out.

    With `overlap` each stretch begins so many tokens before the end of the one before.

    `rows(indices [n], epochs [n])` gives `tokens` int32 [n, length], and where asked for the `flags` of the tokens,
    of the same shape and 0 on special tokens; the bits are in `data.corpus_files`.
    """

    def __init__(self, split, length, start=(), end=(), *, flags=False, overlap=0):
        self._split, self._length, self._flags = split, length, flags
        self._start, self._end = np.asarray(start, np.int32), np.asarray(end, np.int32)
        self._capacity = _capacity(length, start, end)
        self._stride = self._capacity - overlap
        self.num_rows = max(0, (split.num_tokens - overlap) // self._stride)
        if not self.num_rows:
            raise DataError(
                f"the {split.name} split of {split.source} has {split.num_tokens} tokens, fewer than one row of "
                f"{self._capacity}: lower data.sequence_length or give more text"
            )

    def rows(self, indices, epochs):
        starts = np.asarray(indices, np.int64) * self._stride
        text, flags = self._split.gather(starts, starts + self._capacity)
        n = len(starts)
        start, end = (np.broadcast_to(ids, (n, len(ids))) for ids in (self._start, self._end))
        arrays = {"tokens": np.concatenate([start, text.reshape(n, self._capacity), end], axis=1)}
        if self._flags:
            frame = (0, 0), (len(self._start), len(self._end))
            arrays["flags"] = np.pad(flags.reshape(n, self._capacity).astype(np.int32), frame)
        return arrays | _identity(indices, epochs)


class FullSentences:
    """Full sentences in the order of the text, as many as fit: RoBERTa's FULL-SENTENCES (Liu et al. 2019, section 4.2).

    A row may go on in the next document; then `end` stands between the two, as it does at the end of the row. A
    sentence longer than a row is cut into pieces, which are treated like sentences. Every token of the split is in one
    row exactly. `rows(indices [n], epochs [n])` gives int32 [n, length]: `tokens`; `segments`, 1 and on padding 0; and
    where asked for the `flags` of the tokens, 0 on special tokens and padding; the bits are in `data.corpus_files`.
    """

    def __init__(self, split, length, start=(), end=(), pad=0, *, flags=False):
        self._split, self._length, self._pad, self._flags = split, length, pad, flags
        self._start, self._end = tuple(start), tuple(end)
        capacity = _capacity(length, start, end)
        starts, sizes = _pieces(np.concatenate([[0], split.sentence_ends()]), capacity)
        document = np.searchsorted(split.document_offsets, starts, side="right")
        begins = starts + len(self._end) * document  # places in one endless row
        self._starts = np.append(starts[_first_of_rows(begins, begins + sizes, capacity)], split.num_tokens)
        self.num_rows = len(self._starts) - 1

    def rows(self, indices, epochs):
        indices = np.asarray(indices, np.int64)
        n, starts, stops = len(indices), self._starts[indices], self._starts[indices + 1]
        sizes, separator = stops - starts, len(self._end)
        first = np.cumsum(sizes) - sizes  # of each row's tokens among all
        document = np.searchsorted(self._split.document_offsets, ranges(starts, sizes), side="right")
        crossed = document - np.repeat(document[first], sizes)  # ends of documents in the row up to each token
        base = np.arange(n) * self._length + len(self._start)
        places = ranges(base, sizes) + separator * crossed
        behind = places[first + sizes - 1] + 1
        enters = np.flatnonzero(np.diff(crossed, prepend=0) > 0)  # tokens that begin a document within a row

        tokens = np.full(n * self._length, self._pad, np.int32)
        segments, flags = np.zeros((2, n * self._length), np.int32)
        for k, token in enumerate(self._start):
            tokens[base - len(self._start) + k] = token
        for k, token in enumerate(self._end):
            tokens[np.concatenate([places[enters] - separator, behind]) + k] = token
        tokens[places], flags[places] = self._split.gather(starts, stops)
        segments[ranges(base - len(self._start), behind + separator - base + len(self._start))] = 1
        arrays = {"tokens": tokens, "segments": segments} | ({"flags": flags} if self._flags else {})
        return {k: v.reshape(n, self._length) for k, v in arrays.items()} | _identity(indices, epochs)


class Documents:
    """Whole documents side by side in rows, packed best fit decreasing; longer ones are cut into pieces.

    Each piece lies between `start` and `end`. Every token of the split is in one row exactly. `rows(indices [n],
    epochs [n])` gives int32 [n, length]: `tokens`; `segments`, 1, 2, ... for the pieces of a row and 0 on padding;
    `positions`, which begin at 0 in each piece and are 0 on padding.
    """

    def __init__(self, split, length, start=(), end=(), pad=0):
        self._split, self._length, self._pad = split, length, pad
        self._start, self._end = tuple(start), tuple(end)
        capacity, wrapping = _capacity(length, start, end), len(self._start) + len(self._end)
        self._starts, self._sizes = _pieces(split.document_offsets, capacity)
        row = _by_first_piece(pack(self._sizes + wrapping, length))
        order = np.argsort(row, kind="stable")  # within a row, pieces keep the order of the text
        self._starts, self._sizes = self._starts[order], self._sizes[order]
        pieces_per_row = np.bincount(row)
        self.num_rows = len(pieces_per_row)
        self._first = np.concatenate([[0], np.cumsum(pieces_per_row)])

    def rows(self, indices, epochs):
        indices = np.asarray(indices, np.int64)
        n, first = len(indices), self._first[indices]
        pieces_per_row = self._first[indices + 1] - first
        piece, owner = ranges(first, pieces_per_row), np.repeat(np.arange(n), pieces_per_row)
        starts, sizes = self._starts[piece], self._sizes[piece]
        wrapped = sizes + len(self._start) + len(self._end)
        filled = np.cumsum(wrapped) - wrapped  # by the pieces before, over all rows and then over this row alone
        filled -= np.repeat(filled[np.cumsum(pieces_per_row) - pieces_per_row], pieces_per_row)
        base = owner * self._length + filled

        tokens = np.full(n * self._length, self._pad, np.int32)
        segments, positions = np.zeros((2, n * self._length), np.int32)
        everything = ranges(base, wrapped)
        positions[everything] = ranges(np.zeros_like(wrapped), wrapped)
        segments[everything] = np.repeat(piece - np.repeat(first, pieces_per_row) + 1, wrapped)
        tokens[ranges(base + len(self._start), sizes)] = self._split.gather(starts, starts + sizes)[0]
        for k, token in enumerate(self._start):
            tokens[base + k] = token
        for k, token in enumerate(self._end):
            tokens[base + len(self._start) + sizes + k] = token
        arrays = {"tokens": tokens, "segments": segments, "positions": positions}
        return {k: v.reshape(n, self._length) for k, v in arrays.items()} | _identity(indices, epochs)


def pack(sizes, capacity):
    """Best-fit-decreasing bin packing, which leaves few gaps: the largest first, each into the fullest bin it fits.

    Items of one size are placed together, so the cost grows with the number of different sizes, not of items.

    Args:
        sizes: int [n], each in [1, capacity].
        capacity: size of a bin.

    Returns:
        int64 [n]: the bin of each item, 0, 1, ...
    """
    sizes = np.asarray(sizes)
    bins = np.empty(len(sizes), np.int64)
    by_size = np.argsort(-sizes, kind="stable")
    distinct, counts = np.unique(sizes, return_counts=True)
    stops = np.cumsum(counts[::-1])
    open_bins, rooms = {}, []  # bins by the room that is left in them, and these rooms in ascending order
    opened = 0
    for size, stop, count in zip(distinct[::-1].tolist(), stops.tolist(), counts[::-1].tolist(), strict=True):
        items = by_size[stop - count : stop]
        left = []  # (room, bins) after this size has been placed
        while len(items):
            where = bisect.bisect_left(rooms, size)
            room = rooms[where] if where < len(rooms) else capacity
            each = room // size  # a bin stays the best fit until it cannot take another
            needed = -(-len(items) // each)
            if where < len(rooms):
                candidates = open_bins[room]
                chosen, rest = candidates[:needed], candidates[needed:]
                if len(rest):
                    open_bins[room] = rest
                else:
                    del open_bins[room], rooms[where]
            else:
                chosen = np.arange(opened, opened + needed)
                opened += needed
            here = min(len(items), len(chosen) * each)
            bins[items[:here]] = np.repeat(chosen, each)[:here]
            items = items[here:]
            full, partial = divmod(here, each)
            left.append((room - each * size, chosen[:full]))
            left.append((room - partial * size, chosen[full:]))
        for room, chosen in left:
            if room and len(chosen):
                if room not in open_bins:
                    bisect.insort(rooms, room)
                    open_bins[room] = chosen
                else:
                    open_bins[room] = np.concatenate([open_bins[room], chosen])
    return bins


def _pieces(offsets, capacity):
    """Documents or sentences -> starts and sizes of pieces of at most `capacity` tokens, in the order of the text."""
    lengths = np.diff(offsets)
    count = -(-lengths // capacity)
    within = ranges(np.zeros_like(count), count) * capacity
    sizes = np.minimum(np.repeat(lengths, count) - within, capacity)
    return np.repeat(offsets[:-1], count) + within, sizes


def _first_of_rows(begins, ends, capacity):
    """Pieces [begins, ends), in order -> those that begin a row, when each row takes as many as fit in `capacity`."""
    begins, ends = (array.array("q", places.tobytes()) for places in (begins, ends))  # faster to search than numpy's
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


def _capacity(length, start, end):
    capacity = length - len(start) - len(end)
    if capacity < 1:
        raise ConfigError(
            f"rows of {length} tokens have no room for text beside {len(start) + len(end)} special tokens: "
            "raise data.sequence_length"
        )
    return capacity


def _identity(indices, epochs):
    return {"row_id": np.asarray(indices, np.int32), "epoch": np.asarray(epochs, np.int32)}
