"""Rows of fixed length, planned over a prepared corpus and read from anywhere in any order.

`plan` gives a row source: `num_rows`, the rows of one epoch, and `rows(indices, epochs)`, a pure function from row
numbers to arrays. Every kind gives int32 arrays with a leading dimension of n rows, among them `row_id` [n] (the
index) and `epoch` [n].
"""

import bisect

import numpy as np

from data.corpus import ranges
from data.pairs import Pairs
from errors import ConfigError, DataError


def plan(
    split, *, kind, length, start=(), end=(), pad=0, short_pair_rate=0.1, swapped=False, random_rate=0.5,
    two_sentences=False, flags=False, entities=False, window=0, seed=0,
):  # fmt: skip
    """Plans the rows that an objective reads.

    Args:
        split: a `data.corpus.Split`.
        kind: "windows" over concatenated text, whole "documents" side by side, or sentence "pairs".
        length: tokens per row.
        start, end: ids put around each window or piece; for pairs ([CLS],) and ([SEP],).
        pad: id of padding.
        short_pair_rate, swapped, seed: see `data.pairs.Pairs`; other kinds do not use them.

    Returns:
        A row source: `num_rows` and `rows(indices, epochs)`.

    Raises:
        ConfigError: `kind` is unknown, or `length` leaves no room for text.
        DataError: the split cannot fill a row.
    """
    if kind == "windows":
        return Windows(split, length, start, end)
    if kind == "documents":
        return Documents(split, length, start, end, pad)
    if kind == "pairs":
        return Pairs(split, length, start, end, pad, short_pair_rate=short_pair_rate, swapped=swapped, seed=seed)
    raise ConfigError(f"unknown kind of rows {kind!r}; there are windows, documents and pairs")


class Windows:
    """Row i is the i-th stretch of the token stream, between `start` and `end`; the ragged tail is left out.

    `rows(indices [n], epochs [n])` gives `tokens` int32 [n, length].
    """

    def __init__(self, split, length, start=(), end=()):
        self._split, self._length = split, length
        self._start, self._end = np.asarray(start, np.int32), np.asarray(end, np.int32)
        self._capacity = _capacity(length, start, end)
        self.num_rows = split.num_tokens // self._capacity
        if not self.num_rows:
            raise DataError(
                f"the {split.name} split of {split.source} has {split.num_tokens} tokens, fewer than one row of "
                f"{self._capacity}: lower data.sequence_length or give more text"
            )

    def rows(self, indices, epochs):
        starts = np.asarray(indices, np.int64) * self._capacity
        text, _ = self._split.gather(starts, starts + self._capacity)
        n = len(starts)
        start, end = (np.broadcast_to(ids, (n, len(ids))) for ids in (self._start, self._end))
        tokens = np.concatenate([start, text.reshape(n, self._capacity), end], axis=1)
        return {"tokens": tokens, **_identity(indices, epochs)}


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


def _pieces(document_offsets, capacity):
    """Documents -> starts and sizes of pieces of at most `capacity` tokens, in the order of the text."""
    lengths = np.diff(document_offsets)
    count = -(-lengths // capacity)
    within = ranges(np.zeros_like(count), count) * capacity
    sizes = np.minimum(np.repeat(lengths, count) - within, capacity)
    return np.repeat(document_offsets[:-1], count) + within, sizes


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
