"""A user's own files as tasks: examples, labels, metrics, and what a test split may leave out."""

import pytest

from cloze import tasks
from cloze.errors import DataError
from cloze.tasks import metrics
from tests.tasks.prepared import table, write

OWN = {
    "jsonl:class": ({"train.jsonl": [{"text": "a", "text_b": "b", "label": "yes"}, {"text": "c", "text_b": "d",
     "label": "no"}]},
                    [{"id": "0", "text": "a", "text_b": "b", "label": 1}, {"id": "1", "text": "c", "text_b": "d",
                     "label": 0}]),
    "tsv:class": ({"train.tsv": table(("label", "text"), ("1", "a"), ("0", 'b "c"'))},
                  [{"id": "0", "text": "a", "label": 1}, {"id": "1", "text": 'b "c"', "label": 0}]),
    "tsv:regression": ({"train.tsv": table(("text", "label"), ("a", "0.5"))}, [{"id": "0", "text": "a", "label": 0.5}]),
    "jsonl:tag": ({"train.jsonl": [{"words": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}]},
                  [{"id": "0", "words": ["New", "York"], "tags": [0, 1]}]),
    "tsv:tag": ({"train.tsv": table(("words", "tags"), ("go home", "V N"))},
                [{"id": "0", "words": ["go", "home"], "tags": [1, 0]}]),
    "jsonl:span": ({"train.jsonl": [{"question": "q", "context": "c d", "answers": [{"text": "d", "start": 2}]}]},
                   [{"id": "0", "question": "q", "context": "c d", "answers": (("d", 2),)}]),
    "tsv:span": ({"train.tsv": table(("question", "context", "answer", "start"), ("q", "c d", "d", "2"), ("r", "c", "",
     ""))},
                 [{"id": "0", "question": "q", "context": "c d", "answers": (("d", 2),)},
                  {"id": "1", "question": "r", "context": "c", "answers": ()}]),
    "jsonl:choice": ({"train.jsonl": [{"context": "c", "choices": ["a", "b", "d"], "label": 2}]},
                     [{"id": "0", "context": "c", "choices": ("a", "b", "d"), "label": 2}]),
    "tsv:choice": ({"train.tsv": table(("context", "choice0", "choice1", "label"), ("c", "a", "b", "1"))},
                   [{"id": "0", "context": "c", "choices": ("a", "b"), "label": 1}]),
    "jsonl:embedding": ({"train.jsonl": [{"anchor": "a"}, {"anchor": "a", "positive": "b", "negatives": ["c", "d"]}]},
                        [{"id": "0", "texts": ("a", "a")}, {"id": "1", "texts": ("a", "b", "c", "d")}]),
    "tsv:embedding": ({"train.tsv": table(("anchor", "positive", "negative"), ("a", "b", "c"))},
                      [{"id": "0", "texts": ("a", "b", "c")}]),
    "jsonl:text": ({"train.jsonl": [
        {"id": "x", "inputs": "a", "targets": "b", "references": ["b", "c"]},
        {"turns": [{"role": "user", "text": "hi"}, {"role": "assistant", "text": "ho"}]}]},
        [{"id": "x", "inputs": "a", "targets": "b", "references": ("b", "c")},
         {"id": "1", "turns": (("user", "hi"), ("assistant", "ho"))}]),
    "jsonl:lm": ({"train.jsonl": [{"text": "a\n"}]}, [{"id": "0", "text": "a\n"}]),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_examples_of_own_files(name, tmp_path):
    files, expected = OWN[name]
    task = tasks.get(name, files=write(tmp_path, files))
    assert task.kind == name.partition(":")[2] and list(task.examples("train")) == expected


def test_labels_of_own_files_are_those_of_the_training_split(tmp_path):
    rows = [{"text": "a", "label": label} for label in ("pear", "apple", "pear")]
    task = tasks.get("jsonl:class", files=write(tmp_path, {"train.jsonl": rows, "validation.jsonl": rows[:1]}))
    assert task.labels() == ("apple", "pear") and next(task.examples("validation"))["label"] == 1
    write(tmp_path, {"validation.jsonl": [{"text": "a", "label": "plum"}]})
    with pytest.raises(DataError, match=r"validation.jsonl:1: unknown label 'plum'.*apple, pear"):
        list(task.examples("validation"))


def test_minus_one_is_a_label_where_training_has_it(tmp_path):
    rows = [{"text": "a", "label": label} for label in (-1, 0, 1)]
    task = tasks.get("jsonl:class", files=write(tmp_path, {"train.jsonl": rows, "test.jsonl": [rows[0]]}))
    assert task.labels() == ("-1", "0", "1")
    assert [example["label"] for example in task.examples("train")] == [0, 1, 2]
    assert [example["label"] for example in task.examples("test")] == [0]


@pytest.mark.parametrize("name, train, test, expected", [
    ("jsonl:tag", {"words": ["a", "b"], "tags": ["X", "Y"]}, {"words": ["a"]}, {"words": ["a"], "tags": None}),
    ("tsv:tag", table(("words", "tags"), ("a b", "X Y")), table(("words",), ("a",)), {"words": ["a"], "tags": None}),
    ("jsonl:span", {"question": "q", "context": "c", "answers": []}, {"question": "q", "context": "c"},
     {"question": "q", "context": "c", "answers": None}),
    ("tsv:span", table(("question", "context", "answer", "start"), ("q", "c", "", "")),
     table(("question", "context"), ("q", "c")), {"question": "q", "context": "c", "answers": None}),
    ("jsonl:text", {"inputs": "a", "targets": "b"}, {"inputs": "a"}, {"inputs": "a", "targets": None}),
    ("tsv:text", table(("inputs", "targets"), ("a", "b")), table(("inputs",), ("a",)),
     {"inputs": "a", "targets": None}),
    ("jsonl:text", {"turns": [{"role": "user", "text": "a"}, {"role": "assistant", "text": "b"}]},
     {"turns": [{"role": "user", "text": "a"}, {"role": "assistant"}]},
     {"turns": (("user", "a"), ("assistant", None))}),
])  # fmt: skip
def test_own_test_files_need_no_labels_and_are_not_scored(name, train, test, expected, tmp_path):
    ending = name.partition(":")[0]
    content = {f"{split}.{ending}": [rows] if isinstance(rows, dict) else rows
               for split, rows in (("train", train), ("test", test), ("validation", test))}  # fmt: skip
    task = tasks.get(name, files=write(tmp_path, content))
    (example,) = task.examples("test")
    assert example == expected | {"id": "0"}
    with pytest.raises(DataError, match="example 0 of the split has no label"):
        metrics.score(task, [["X"] if task.kind == "tag" else "a"], [example])
    if "turns" not in expected:
        with pytest.raises(DataError, match=f"validation.{ending}:.* no field"):
            list(task.examples("validation"))


@pytest.mark.parametrize("tags, expected", [
    (("O", "B-X", "I-X"), ("entity_f1", "accuracy")),
    (("NOUN", "VERB"), ("accuracy", "f1_macro")),
    (("B-X", "BAD"), ("accuracy", "f1_macro")),
])  # fmt: skip
def test_own_tags_are_entities_where_they_look_so(tags, expected, tmp_path):
    rows = [{"words": ["a"] * len(tags), "tags": tags}]
    task = tasks.get("jsonl:tag", files=write(tmp_path, {"train.jsonl": rows}))
    assert task.metrics == expected
    assert set(metrics.score(task, [list(tags)], list(task.examples("train"))).values()) == {1.0}
