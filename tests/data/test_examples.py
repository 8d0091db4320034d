"""Examples are tokenised once, split by their text, and framed as the tokenizer wants."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data import corpus_files, examples
from errors import ConfigError, DataError
from tests.data import fakes


class Numbers:
    """Text i is the number 10 + i several times, its label the last digit of i."""

    name = "numbers"

    def __init__(self, sizes):
        self.sizes = sizes

    def fingerprint(self):
        return str(self.sizes)

    def labels(self):
        return tuple("0123456789")

    def examples(self):
        for i, size in enumerate(self.sizes):
            yield f"{10 + i} " * size + ".", i % 10


def opened(sizes, directory, share=0.3, report=lambda line: None):
    return examples.Examples(Numbers(sizes), fakes.Tokenizer(), directory, validation_share=share, report=report)


def test_every_text_is_in_the_split_that_its_hash_says(tmp_path):
    made = opened([1] * 50, tmp_path)
    assert made.labels == tuple("0123456789")
    for split in corpus_files.SPLITS:
        part = made.split(split)
        expected = [
            (10 + i, i % 10)
            for i, (text, _) in enumerate(Numbers([1] * 50).examples())
            if corpus_files.is_held_out(text, 0.3) == (split == "validation")
        ]
        assert list(zip(part.ids.tolist(), part.labels.tolist(), strict=True)) == expected
        assert part.counts.sum() == len(expected) and part.counts[expected[0][0]] == 1
        assert part.majority == max(np.bincount(part.labels)) / len(expected)


@hypothesis.given(
    st.lists(st.integers(1, 12), min_size=1, max_size=12), st.sampled_from([((), ()), ((1,), (2,)), ((), (3,))])
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_rows_are_framed_cut_and_filled(sizes, frame):
    start, end = frame
    ids = np.concatenate([np.full(size, 10 + i) for i, size in enumerate(sizes)]).astype(np.int32)
    arrays = {
        "ids": ids,
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": np.arange(len(sizes), dtype=np.int32),
    }
    source = examples.Rows(examples.Split("train", arrays, 99), 8, start, end, pad=7)
    order = np.arange(len(sizes))[::-1]
    rows = source.rows(order, np.zeros(len(sizes)))
    for row, i in enumerate(order.tolist()):
        kept = min(sizes[i], 8 - len(start) - len(end))
        text = [*start, *[10 + i] * kept, *end]
        assert rows["tokens"][row].tolist() == text + [7] * (8 - len(text))
        assert rows["segments"][row].tolist() == [1] * len(text) + [0] * (8 - len(text))
        assert rows["labels"][row] == i
    assert all(array.dtype == np.int32 for array in rows.values())


def test_are_tokenised_once(tmp_path):
    lines = []
    for _ in range(2):
        opened([2] * 20, tmp_path, report=lines.append)
    assert lines == ["tokenising the examples of the task numbers"]


def test_errors_name_the_cause(tmp_path):
    with pytest.raises(DataError, match="data.validation_share=0.0"):
        opened([1] * 5, tmp_path, share=0.0)
    made = opened([1] * 50, tmp_path)
    with pytest.raises(ConfigError, match="raise data.sequence_length"):
        examples.Rows(made.split("train"), 2, (1,), (2,))
