"""Rows: every token where it belongs, at any index and in any order."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.rows import pack, plan
from errors import ConfigError, DataError
from tests.data import fakes


class Stream:
    """A split in memory whose token at offset i is i + 10."""

    name, source = "train", "counting"

    def __init__(self, lengths):
        self.document_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.num_documents, self.num_tokens = len(lengths), int(self.document_offsets[-1])

    def gather(self, starts, stops):
        parts = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        ids = np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int32) + 10
        return ids, np.zeros(len(ids), np.uint8)


def every_row(source, epoch=0):
    return source.rows(np.arange(source.num_rows), np.full(source.num_rows, epoch))


@pytest.mark.parametrize("start, end", [((), ()), ((1,), (2,)), ((), (2, 3))])
def test_windows_are_consecutive(tmp_path, start, end):
    split = fakes.split_of_lengths([700, 1, 850], tmp_path)
    source = plan(split, kind="windows", length=32, start=start, end=end)
    capacity = 32 - len(start) - len(end)
    assert source.num_rows == 1551 // capacity
    rows = every_row(source)
    assert set(rows) == {"tokens", "row_id", "epoch"} and all(v.dtype == np.int32 for v in rows.values())
    assert rows["tokens"].shape == (source.num_rows, 32)
    text = rows["tokens"][:, len(start) : 32 - len(end)].ravel()
    np.testing.assert_array_equal(text, np.arange(len(text)) + 10)
    assert (rows["tokens"][:, : len(start)] == start).all()
    assert (rows["tokens"][:, 32 - len(end) :] == end).all()


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
    source = plan(Stream(lengths), kind="documents", length=16, start=wrapping[0], end=wrapping[1], pad=4)
    check_packed(lengths, 16, *wrapping, every_row(source))


def test_documents_from_a_corpus(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 90, size=120).tolist()
    source = plan(fakes.split_of_lengths(lengths, tmp_path), kind="documents", length=64, start=(1,), end=(2,), pad=4)
    rows = every_row(source)
    assert rows["tokens"].shape == (source.num_rows, 64) and all(v.dtype == np.int32 for v in rows.values())
    check_packed(lengths, 64, (1,), (2,), rows)


@pytest.mark.parametrize("kind", ["windows", "documents"])
def test_rows_are_random_access(kind):
    source = plan(Stream([40, 3, 9, 100, 17, 17, 30]), kind=kind, length=16)
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
    source = plan(Stream(lengths), kind="documents", length=512, start=(1,), end=(2,))
    assert time.process_time() - began < 2.5
    pieces = -(-lengths // 510)
    fill = (lengths.sum() + 2 * pieces.sum()) / (source.num_rows * 512)
    assert fill > 0.98
    again = plan(Stream(lengths), kind="documents", length=512, start=(1,), end=(2,))
    some = rng.integers(source.num_rows, size=8)
    np.testing.assert_array_equal(source.rows(some, some)["tokens"], again.rows(some, some)["tokens"])


def test_first_rows_are_not_those_of_the_longest_documents():
    lengths = np.random.default_rng(0).integers(1, 64, size=2000)
    source = plan(Stream(lengths), kind="documents", length=64)
    pieces = source.rows(np.arange(source.num_rows), np.zeros(source.num_rows))["segments"].max(axis=1)
    assert pieces[: len(pieces) // 4].mean() > 1.5  # in the order of packing they would hold one document each


def test_errors_name_the_cause():
    with pytest.raises(DataError, match="train split of counting has 5 tokens.*data.sequence_length"):
        plan(Stream([5]), kind="windows", length=6)
    with pytest.raises(ConfigError, match="data.sequence_length"):
        plan(Stream([5]), kind="documents", length=2, start=(1,), end=(2,))
    with pytest.raises(ConfigError, match="unknown kind"):
        plan(Stream([5]), kind="window", length=2)
