"""Examples are made into features once, subsets of them are nested, and their labels are known to who asks."""

import numpy as np
import pytest

from cloze.configs.base import get_base
from cloze.data import examples, pipeline
from cloze.data.encoding import Layout
from cloze.data.examples import Examples
from cloze.errors import ConfigError, DataError
from tests.data import fakes
from tests.data.features import features, layout

LAYOUT = Layout("class", "encoder", length=16, start=(1,), separator=(2,), end=(2,))


class Numbers:
    """Text i is the number 10 + i several times, its label the last digit of i."""

    name, kind = "numbers", "class"

    def __init__(self, sizes, name="numbers"):
        self.sizes, self.name = sizes, name

    def fingerprint(self):
        return f"{self.name} {self.sizes}"

    def labels(self):
        return tuple("0123456789")

    def examples(self, split):
        for i, size in enumerate(self.sizes if split == "train" else self.sizes[:3]):
            yield {"text": f"{10 + i} " * size, "label": i % 10}


def prepared(sizes, directory, split="train", made=LAYOUT, lines=None):
    report = [].append if lines is None else lines.append
    return examples.prepare(Numbers(sizes), fakes.Tokenizer(), made, split, directory, report)


def opened(tmp_path, tasks, kind="class", split="train", **changes):
    config = get_base()
    config.data.cache_dir, config.train.batch_size = str(tmp_path), 4
    config.task.update(changes)
    wanted = Examples(length=16, layout=Layout(kind, "encoder", length=16, start=(1,), end=(2,)))
    return pipeline.open_batches(config, fakes.Tokenizer(), wanted, split, tasks, report=lambda line: None)


def test_examples_are_tokenised_once_for_each_layout_and_split(tmp_path):
    lines = []
    for made in (LAYOUT, LAYOUT, Layout("class", "encoder", length=8, start=(1,), end=(2,))):
        for split in ("train", "validation"):
            found = prepared([3, 4, 1, 2], tmp_path, split, made, lines)
            size = 4 if split == "train" else 3
            assert len(found.sizes) == found.num_examples == size and found.labels == tuple("0123456789")
            assert found.sizes.tolist() == [5, 6, 3, 4][:size]
    tokenised = [line for line in lines if line.startswith("tokenising")]
    assert (
        tokenised == [f"tokenising the {split} examples of the task numbers" for split in ("train", "validation")] * 2
    )


def test_subsets_are_nested_and_keep_all_windows_of_an_example():
    whole = features([[4]] * 40, layout("class"))
    whole.arrays["example"] = np.repeat(np.arange(20), 2)
    whole.num_examples = 20
    parts = [set(whole.limited(limit, seed=7).used.tolist()) for limit in (1, 5, 12, 20)]
    assert [len(part) for part in parts] == [2, 10, 24, 40]
    assert parts[0] < parts[1] < parts[2] < parts[3] == set(whole.used.tolist())
    assert all({2 * (f // 2), 2 * (f // 2) + 1} <= part for part in parts for f in part)
    assert whole.limited(5, seed=8).used.tolist() != whole.limited(5, seed=7).used.tolist()
    assert whole.limited(5, seed=7).num_used == 5 and len(whole.limited(0, seed=7).used) == 40


def test_the_most_frequent_class_is_known_of_the_labels_that_are():
    made = features([[3]] * 6, layout("class"))
    made.arrays["labels"] = np.array([-1, 2, 1, 2, -1, -1], np.int32)
    assert made.majority == ("c", 2 / 3)
    made.arrays["labels"][:] = -1
    assert made.majority is None and features([[3]], layout("regression")).majority is None


@pytest.mark.parametrize(
    "options, fingerprint",
    [
        ({}, "fb649988ab72050eca5784ef6e899bc5a8d0d5574dc57effec0695fbc24d13ab"),
        ({"limit": 4}, "b610340043a3eaae2360ba395b1fdcc44762357a0ab9325b978c1756587f5b97"),
        ({"split": "validation", "limit": 1}, "0037588c7d5cc89b89d52949453539da3c62c19783636c857267ca9b45162dff"),
    ],
)
def test_fingerprints_are_those_of_earlier_versions(tmp_path, options, fingerprint):
    assert opened(tmp_path, [Numbers([1, 2, 3, 2, 1, 5, 1])], **options).fingerprint == fingerprint


def test_a_run_sees_what_its_task_holds(tmp_path):
    data = opened(tmp_path, [Numbers([1, 2, 3, 2, 1, 5, 1])])
    assert (
        data.features.labels == tuple("0123456789")
        and data.features.num_examples == 7
        and data.steps_per_epoch == 7 / 4
    )
    assert "7 train examples of 10 labels, 14.3% of them 0" in data.description
    assert data.counts[10:17].tolist() == [1, 2, 3, 2, 1, 5, 1] and data.counts[1] == 7
    rows = data.batches(0)
    assert data.size(0) == 4 and rows["tokens"].shape == (4, 8)  # the bucket that holds 5 tokens and two special ones
    other = opened(tmp_path, [Numbers([1, 2, 3, 2, 1, 5, 1])], limit=4)
    assert other.fingerprint != data.fingerprint and "4 train examples" in other.description
    held = opened(tmp_path, [Numbers([1, 2, 3, 2, 1, 5, 1])], split="validation", limit=1)
    assert held.steps_per_epoch == 1 and held.batches(0)["row_id"].tolist() == [0, 1, 2, -1]


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="only texts can be mixed"):
        opened(tmp_path, [Numbers([1]), Numbers([1], "more")])
    with pytest.raises(DataError, match="has no train examples"):
        prepared([], tmp_path)
