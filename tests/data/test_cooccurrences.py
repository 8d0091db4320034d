"""Words that stand together are counted once, by distance, within documents."""

import collections

import numpy as np
import pytest

from cloze.data import cooccurrences
from cloze.data.cooccurrences import Cooccurrences
from cloze.errors import DataError
from tests.data import fakes

DOCUMENTS = [[[10, 11, 12, 11], [13]], [[11]], [[14, 10, 14, 14, 12, 10, 13]]]


def counted(pairs):
    found = {}
    for token, context, count in zip(pairs["tokens"], pairs["contexts"], pairs["counts"], strict=True):
        assert (token, context) not in found
        found[token, context] = count
    return found


@pytest.mark.parametrize("window", [1, 3, 20])
@pytest.mark.parametrize("chunk, excluded", [(3, ()), (1 << 20, ()), (3, (11, 13, 500)), (1 << 20, (10, 11))])
def test_counts_equal_plain_loops(tmp_path, monkeypatch, window, chunk, excluded):
    monkeypatch.setattr(cooccurrences, "CHUNK", chunk)
    split = fakes.prepare(DOCUMENTS, tmp_path).split("train")
    expected = collections.Counter()
    for document in DOCUMENTS:
        words = sum(document, [])
        for i, word in enumerate(words):
            for j, other in enumerate(words):
                if i != j and abs(i - j) <= window and not {word, other} & set(excluded):
                    expected[word, other] += 1 / abs(i - j)
    found = counted(cooccurrences.count(split, window, excluded))
    assert found.keys() == expected.keys()
    for pair, count in expected.items():
        assert found[pair] == pytest.approx(count, rel=1e-6)


def test_rows_hold_every_pair_once_and_are_kept(tmp_path):
    split = fakes.prepare(DOCUMENTS, tmp_path).split("train")
    lines = []
    source = Cooccurrences(length=4, window=3).plan(split, report=lines.append)
    rows = source.rows(np.arange(source.num_rows), np.zeros(source.num_rows))
    assert (rows["tokens"].dtype, rows["contexts"].dtype, rows["counts"].dtype) == (np.int32, np.int32, np.float32)
    assert rows["counts"].shape == (source.num_rows, 4)
    there = rows["counts"] > 0
    assert there[:-1].all() and there[-1].any()
    pairs = {name: rows[name][there] for name in ("tokens", "contexts", "counts")}
    assert counted(pairs) == counted(cooccurrences.count(split, 3))
    assert len(lines) == 1
    Cooccurrences(length=8, window=3).plan(split, report=lines.append)
    assert len(lines) == 1  # read from the cache
    Cooccurrences(length=8, window=2).plan(split, report=lines.append)
    assert len(lines) == 2
    without = Cooccurrences(length=8, window=2, excluded=(11,)).plan(split, report=lines.append)
    assert len(lines) == 3
    assert not (without.rows(np.arange(without.num_rows), np.zeros(without.num_rows))["tokens"] == 11).any()


def test_damage_and_nothing_to_count_are_errors(tmp_path):
    split = fakes.prepare(DOCUMENTS, tmp_path).split("train")
    Cooccurrences(length=4, window=3).plan(split, report=lambda line: None)
    (file,) = tmp_path.glob("cooccurrences/*/counts.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="checksum differs.*delete"):
        Cooccurrences(length=4, window=3).plan(split, report=lambda line: None)
    alone = fakes.prepare([[[10]], [[11]]], tmp_path / "alone").split("train")
    with pytest.raises(DataError, match="no two words in one document"):
        Cooccurrences(length=4, window=3).plan(alone, report=lambda line: None)
