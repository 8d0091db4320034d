"""Rows: every token where it belongs, at any index and in any order."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze.data.cooccurrences import Cooccurrences
from cloze.data.packing import pack
from cloze.data.pairs import Pairs
from cloze.data.rows import PACKINGS, Documents, FullSentences, Windows
from cloze.errors import ConfigError, DataError
from tests.data import fakes


class Stream:
    """A split in memory whose token at offset i is i + 10, with flags i % 7; sentences end where they are said to."""

    name, source = "train", "counting"

    def __init__(self, lengths, sentence_lengths=()):
        self.document_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.num_documents, self.num_tokens = len(lengths), int(self.document_offsets[-1])
        self._sentence_ends = np.cumsum(sentence_lengths, dtype=np.int64)

    def sentence_ends(self):
        return self._sentence_ends

    def gather(self, starts, stops):
        parts = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        places = np.concatenate([*parts, np.zeros(0, np.int64)])
        return places.astype(np.int32) + 10, (places % 7).astype(np.uint8)


def every_row(source, epoch=0):
    return source.rows(np.arange(source.num_rows), np.full(source.num_rows, epoch))


@pytest.mark.parametrize("start, end", [((), ()), ((1,), (2,)), ((), (2, 3))])
def test_windows_are_consecutive(tmp_path, start, end):
    split = fakes.split_of_lengths([700, 1, 850], tmp_path)
    source = Windows(length=32, start=start, end=end).plan(split)
    capacity = 32 - len(start) - len(end)
    assert source.num_rows == 1551 // capacity
    rows = every_row(source)
    assert set(rows) == {"tokens", "row_id", "epoch"} and all(v.dtype == np.int32 for v in rows.values())
    assert rows["tokens"].shape == (source.num_rows, 32)
    text = rows["tokens"][:, len(start) : 32 - len(end)].ravel()
    np.testing.assert_array_equal(text, np.arange(len(text)) + 10)
    assert (rows["tokens"][:, : len(start)] == start).all()
    assert (rows["tokens"][:, 32 - len(end) :] == end).all()


def test_windows_that_overlap_show_every_token_behind_the_overlap_once(tmp_path):
    split = fakes.split_of_lengths([700, 1, 850], tmp_path)
    rows = every_row(Windows(length=32, end=(2, 3), overlap=10).plan(split))["tokens"]
    np.testing.assert_array_equal(rows[1:, :10], rows[:-1, 20:30])
    once = rows[:, 10:30].ravel()
    np.testing.assert_array_equal(once, np.arange(len(once)) + 10 + 10)
    assert len(rows) == (1551 - 10) // 20


def test_windows_give_flags_where_they_are_asked_for():
    source = Windows(length=16, start=(1,), end=(2, 3), flags=True).plan(Stream([90]))
    rows = every_row(source)
    assert set(rows) == {"tokens", "flags", "row_id", "epoch"} and rows["flags"].dtype == np.int32
    expected = np.where(rows["tokens"] >= 10, (rows["tokens"] - 10) % 7, 0)
    np.testing.assert_array_equal(rows["flags"], expected)


def full_sentences(documents, length, start, end):
    """Rows of FULL-SENTENCES in plain loops: lists of tokens, where documents are lists of sizes of sentences."""
    capacity = length - len(start) - len(end)
    rows, row, token = [], [], 10
    for document in documents:
        begins = True
        for sentence in document:
            left = list(range(token, token + sentence))
            token += sentence
            while left:
                piece, left = left[:capacity], left[capacity:]
                separator = list(end) if begins and row else []
                if len(row) + len(separator) + len(piece) > capacity:
                    rows.append(row)
                    row, separator = [], []
                row = row + separator + piece
                begins = False
    return [[*start, *row, *end] for row in [*rows, row]]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=12),
    st.sampled_from([((), ()), ((1,), (2,)), ((), (3,)), ((1,), (2, 3))]),
    st.randoms(use_true_random=False),
)
def test_full_sentences_fill_rows_in_order(documents, wrapping, random):
    split = Stream([sum(document) for document in documents], [size for document in documents for size in document])
    source = FullSentences(length=16, start=wrapping[0], end=wrapping[1], pad=4, flags=True).plan(split)
    expected = full_sentences(documents, 16, *wrapping)
    assert source.num_rows == len(expected)
    chosen = [random.randrange(source.num_rows) for _ in range(5)] + list(range(source.num_rows))
    rows = source.rows(np.array(chosen), np.zeros(len(chosen)))
    assert set(rows) == {"tokens", "segments", "flags", "row_id", "epoch"}
    for number, tokens, segments, flags in zip(chosen, rows["tokens"], rows["segments"], rows["flags"], strict=True):
        used = len(expected[number])
        assert tokens[:used].tolist() == expected[number] and (tokens[used:] == 4).all()
        assert (segments[:used] == 1).all() and not segments[used:].any()
        np.testing.assert_array_equal(flags, np.where(tokens >= 10, (tokens - 10) % 7, 0))


def test_full_sentences_of_a_corpus(tmp_path):
    """No row could take the sentence that the next one begins with."""
    rng, token, documents = np.random.default_rng(0), 10, []
    for _ in range(60):
        document = []
        for size in rng.integers(1, 40, size=rng.integers(1, 12)).tolist():
            document.append(list(range(token, token + size)))
            token += size
        documents.append(document)
    split = fakes.prepare(documents, tmp_path).split("train")
    source = FullSentences(length=64, start=(1,), end=(2,), pad=4).plan(split)
    rows = every_row(source)
    assert set(rows) == {"tokens", "segments", "row_id", "epoch"}
    assert all(value.dtype == np.int32 for value in rows.values()) and rows["tokens"].shape == (source.num_rows, 64)
    text = rows["tokens"][rows["tokens"] >= 10]
    np.testing.assert_array_equal(text, np.arange(10, token))
    firsts = {document[0][0] for document in documents}
    sizes = {sentence[0]: len(sentence) for document in documents for sentence in document}
    for row, following in zip(rows["tokens"][:-1], rows["tokens"][1:], strict=True):
        used, first = np.count_nonzero(row != 4), int(following[1])
        assert used + (first in firsts) + sizes[first] > 64
        inside = np.flatnonzero(row[1 : used - 1] == 2) + 1
        assert [int(row[place + 1]) for place in inside] == sorted(firsts & set(row[2:used].tolist()))
    alone = FullSentences(length=64).plan(split)  # no id to put between documents: none is there
    np.testing.assert_array_equal(every_row(alone)["tokens"][every_row(alone)["segments"] > 0], np.arange(10, token))


def test_rows_of_many_sentences_are_planned_quickly():
    sizes = np.clip(np.random.default_rng(0).lognormal(2.9, 0.8, size=300_000), 1, 400).astype(int)
    split = Stream(sizes.reshape(-1, 30).sum(axis=1), sizes)
    began = time.process_time()
    source = FullSentences(length=512, start=(1,), end=(2,)).plan(split)
    assert time.process_time() - began < 1.5  # of 7 million tokens
    assert sizes.sum() / (source.num_rows * 510) > 0.95


def check_packed(lengths, length, start, end, rows):
    """Each token once, in wrapped pieces that lie side by side from the left."""
    wrapping, seen = len(start) + len(end), []
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for tokens, segments, positions in zip(rows["tokens"], rows["segments"], rows["positions"], strict=True):
        used = np.count_nonzero(segments)
        assert used and not segments[used:].any() and (tokens[used:] == 4).all() and not positions[used:].any()
        assert (np.diff(segments[:used]) >= 0).all() and set(segments[:used]) == set(range(1, segments.max() + 1))
        for segment in range(1, segments.max() + 1):
            piece = tokens[segments == segment]
            np.testing.assert_array_equal(positions[segments == segment], np.arange(len(piece)))
            assert tuple(piece[: len(start)]) == start and tuple(piece[len(piece) - len(end) :]) == end
            text = piece[len(start) : len(piece) - len(end)] - 10
            assert 0 < len(text) <= length - wrapping
            assert (np.diff(text) == 1).all() and len(set(owner[text])) == 1
            seen.append(text)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(sum(lengths)))
    pieces = sum(-(-size // (length - wrapping)) for size in lengths)
    assert len(seen) == pieces  # documents are cut no more often than they must be


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 3, 5, 7, 11, 12, 13, 14, 15, 16, 17, 28, 48]), min_size=1, max_size=60),
    st.sampled_from([((), ()), ((1,), (2,)), ((), (3,))]),
)
def test_documents_are_packed_without_loss(lengths, wrapping):
    source = Documents(length=16, start=wrapping[0], end=wrapping[1], pad=4).plan(Stream(lengths))
    check_packed(lengths, 16, *wrapping, every_row(source))


def test_documents_from_a_corpus(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 90, size=120).tolist()
    source = Documents(length=64, start=(1,), end=(2,), pad=4).plan(fakes.split_of_lengths(lengths, tmp_path))
    rows = every_row(source)
    assert rows["tokens"].shape == (source.num_rows, 64) and all(v.dtype == np.int32 for v in rows.values())
    check_packed(lengths, 64, (1,), (2,), rows)


@pytest.mark.parametrize("kind", ["windows", "sentences", "documents"])
def test_rows_are_random_access(kind):
    lengths = [40, 3, 9, 100, 17, 17, 30]
    source = PACKINGS[kind](length=16).plan(Stream(lengths, lengths))
    whole, chosen = every_row(source, epoch=3), np.array([5, 0, 5, 9])
    some = source.rows(chosen, np.full(4, 3))
    for key, value in some.items():
        np.testing.assert_array_equal(value, whole[key][chosen])
    assert some["row_id"].tolist() == chosen.tolist() and some["epoch"].tolist() == [3] * 4


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), max_size=80))
def test_pack_is_best_fit_decreasing(sizes):
    rooms, order = [], sorted(sizes, reverse=True)
    for size in order:  # the textbook version
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else 20) - size)
    bins = pack(np.array(sizes, int), 20)
    fill = np.bincount(bins, sizes).astype(int)
    assert sorted(20 - fill) == sorted(rooms)


def test_realistic_documents_fill_their_rows_quickly():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.5, 1.0, size=200_000), 1, 20_000).astype(int)
    began = time.process_time()
    source = Documents(length=512, start=(1,), end=(2,)).plan(Stream(lengths))
    assert time.process_time() - began < 2.5
    pieces = -(-lengths // 510)
    fill = (lengths.sum() + 2 * pieces.sum()) / (source.num_rows * 512)
    assert fill > 0.98
    again = Documents(length=512, start=(1,), end=(2,)).plan(Stream(lengths))
    some = rng.integers(source.num_rows, size=8)
    np.testing.assert_array_equal(source.rows(some, some)["tokens"], again.rows(some, some)["tokens"])


def test_first_rows_are_not_those_of_the_longest_documents():
    lengths = np.random.default_rng(0).integers(1, 64, size=2000)
    source = Documents(length=64).plan(Stream(lengths))
    pieces = source.rows(np.arange(source.num_rows), np.zeros(source.num_rows))["segments"].max(axis=1)
    assert pieces[: len(pieces) // 4].mean() > 1.5  # in the order of packing they would hold one document each


def test_errors_name_the_cause():
    with pytest.raises(DataError, match="train split of counting has 5 tokens.*data.sequence_length"):
        Windows(length=6).plan(Stream([5]))
    with pytest.raises(ConfigError, match="data.sequence_length"):
        Documents(length=2, start=(1,), end=(2,)).plan(Stream([5]))


FIRST = "{'kind': %r, 'length': %d, 'start': %r, 'end': %r, 'pad': %d, 'short_pair_rate': %r, 'swapped': %r"


@pytest.mark.parametrize(
    "spec, first, later",
    [
        (Windows(length=32, start=(2,), end=(3,)), ("windows", 32, (2,), (3,), 0, 0.0, False), ""),
        (Windows(length=9, document_end=5, pad=5), ("windows", 9, (), (), 5, 0.0, False), ""),
        (Windows(length=9, overlap=4), ("windows", 9, (), (), 0, 0.0, False), ", 'overlap': 4"),
        (
            FullSentences(length=9, flags=True, entities=True),
            ("sentences", 9, (), (), 0, 0.0, False),
            ", 'flags': True, 'entities': True",
        ),
        (Documents(length=9, end=(3,)), ("documents", 9, (), (3,), 0, 0.0, False), ""),
        (
            Pairs(length=9, short_pair_rate=0.1, random_rate=0.25, two_sentences=True),
            ("pairs", 9, (), (), 0, 0.1, False),
            ", 'random_rate': 0.25, 'two_sentences': True",
        ),
        (Pairs(length=9, swapped=True), ("pairs", 9, (), (), 0, 0.0, True), ""),
        (
            Cooccurrences(length=9, window=3, excluded=(0, 2)),
            ("cooccurrences", 9, (), (), 0, 0.0, False),
            ", 'window': 3, 'excluded': (0, 2)",
        ),
    ],
)
def test_fingerprints_cover_what_they_did_in_earlier_versions(spec, first, later):
    """Runs and caches of the version that had one class for all rows stay valid."""
    assert repr(spec.described()) == FIRST % first + later + "}"
