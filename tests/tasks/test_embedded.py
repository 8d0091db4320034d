"""Embedded tasks: splits share no text, pairs give nothing away, answers stand where they are said to."""

import ast
import collections
import itertools
import re
import textwrap

import numpy as np
import pytest

from cloze import tasks
from cloze.data import pydocs
from cloze.data.corpus_files import is_held_out
from cloze.errors import ConfigError, DataError
from cloze.tasks import docstrings, embedded
from cloze.tasks.base import SPLITS

NUMPY = """Sort the values along an axis.

The order of equal values is kept.

Parameters
----------
values : array_like
    What to sort. It is not changed.
axis, kind : int
    Not read: two names.
out : ndarray, optional
    Where the result
    is put.

    A second paragraph.

Returns
-------
sorted : ndarray
    The values in order.
out : bool
    A name that is described twice.

Examples
--------
>>> values = sort([3, 1],
...               axis=0)
>>> values.size  # both
2
"""
GOOGLE = """Sort the values along an axis.

Args:
  values: what to sort. It is
    not changed.
  axis (int): which axis.
  out:
    Where the result is put.

Returns:
  The values in order: nothing to ask for.
"""


def fields(text):
    return [
        (p.name, p.type and text[slice(*p.type)], " ".join(text[slice(*p.description)].split()))
        for p in docstrings.parameters(text)
    ]


def test_parameters_are_found_in_both_layouts():
    assert fields(NUMPY) == [
        ("values", "array_like", "What to sort. It is not changed."),
        ("sorted", "ndarray", "The values in order."),
    ]
    assert fields(GOOGLE) == [
        ("values", None, "what to sort. It is not changed."),
        ("axis", "int", "which axis."),
        ("out", None, "Where the result is put."),
    ]
    assert not fields("Returns True: always.\n\nNote:\n  args: not a list of arguments")


@pytest.mark.parametrize("text, summary, body", [
    ("Sort the\nvalues.\n\n\n  More.\n", "Sort the values.", "  More."),
    ("Sort the values.", "Sort the values.", ""),
    ("sort(values, /)\n\nMore.", "", "More."),
    ("Options.\n--------\nMore values.\n\nMore.", "", "More."),
])  # fmt: skip
def test_a_summary_is_a_first_paragraph_of_prose(text, summary, body):
    assert docstrings.summary_and_body(text) == (summary, body)


def test_code_is_what_stands_behind_prompts():
    (source,) = docstrings.code(NUMPY)
    assert source == "values = sort([3, 1],\n              axis=0)\nvalues.size  # both\n"
    assert list(docstrings.code_words(source)) == [
        [("values", "name"), ("=", "operator"), ("sort", "function"), ("(", "bracket"), ("[", "bracket"),
         ("3", "number"), (",", "separator"), ("1", "number"), ("]", "bracket"), (",", "separator"),
         ("axis", "argument"), ("=", "operator"), ("0", "number"), (")", "bracket")],
        [("values", "name"), (".", "separator"), ("size", "attribute"), ("#", "comment"), ("both", "comment")],
    ]  # fmt: skip
    with pytest.raises(SyntaxError):
        list(docstrings.code_words("values = (1,\n"))


def test_kinds_of_names_agree_with_pythons_parser():
    with open(textwrap.__file__) as file:
        source = file.read()
    found = list(itertools.chain.from_iterable(docstrings.code_words(source)))
    assert "".join(word for word, _ in found) == "".join(source.replace("\\\n", "").split())
    nodes = collections.defaultdict(list)
    for node in ast.walk(ast.parse(source)):
        nodes[type(node)].append(node)
    called = [type(call.func) for call in nodes[ast.Call]]
    defaults = sum(len(f.args.defaults) + len(f.args.kw_defaults) for f in nodes[ast.FunctionDef])
    expected = {
        "method": called.count(ast.Attribute),
        "attribute": len(nodes[ast.Attribute]) - called.count(ast.Attribute),
        "function": called.count(ast.Name) + len(nodes[ast.FunctionDef]),
        "argument": defaults + sum(keyword.arg is not None for keyword in nodes[ast.keyword]),
    }
    counts = collections.Counter(kind for _, kind in found)
    assert {kind: counts[kind] for kind in expected} == expected and all(expected.values())


@pytest.fixture(scope="module")
def real():
    """Real docstrings, of two packages, and copies of some of them with other case and line breaks."""
    found = [*pydocs._package_documents("optax"), *pydocs._package_documents("flax")]
    copies = [pydocs.Document(d.text.replace("\n\n", "\n\n\n"), d.package, f"copy of {d.name}") for d in found[::3]]
    return found + [copy for copy, d in zip(copies, found[::3], strict=True) if copy.text != d.text]


@pytest.fixture
def corpus(real, monkeypatch, tmp_path):
    monkeypatch.setattr(pydocs, "documents", lambda: iter(real))
    monkeypatch.setattr(embedded, "HOME", ("flax",))
    monkeypatch.setattr(pydocs, "CACHE", tmp_path / "cache")
    return real


def split_of(text):
    return "test" if is_held_out(text, 0.05) else "validation" if is_held_out(text, 0.1) else "train"


@pytest.mark.parametrize("task", embedded.TASKS, ids=lambda task: task.name)
def test_no_text_is_in_two_splits(corpus, task):
    texts = {split: {" ".join(task.read(e).lower().split()) for e in task.examples(split)} for split in SPLITS}
    assert all(texts.values())
    assert not any(texts[one] & texts[other] for one, other in itertools.combinations(SPLITS, 2))
    made = {split: list(map(task.read, task.make(found))) for split, found in embedded.documents_by_split().items()}
    left_out = sum(map(len, made.values())) - sum(len(list(task.examples(split))) for split in SPLITS)
    assert left_out > 0  # the copies that fell into another split
    assert list(task.examples("test")) == list(task.examples("test"))
    with pytest.raises(DataError, match="has no split 'dev'"):
        list(task.examples("dev"))


def test_what_is_held_out_from_pretraining_is_held_out_here(corpus):
    for split, found in embedded.documents_by_split().items():
        assert found and {split_of(document.text) for document in found} == {split}
    bodies = collections.defaultdict(set)
    for document in corpus:
        bodies[docstrings.summary_and_body(document.text)[1]].add(split_of(document.text))
    for split in SPLITS:
        assert all(split in bodies[e["inputs"]] for e in tasks.get("summary").examples(split))
    held_out = [e["inputs"] for split in SPLITS[1:] for e in tasks.get("summary").examples(split)]
    assert held_out and not any("train" in bodies[body] for body in held_out)


def test_neither_a_summary_nor_a_body_alone_says_whether_they_match(corpus):
    own = {docstrings.summary_and_body(d.text): d for d in corpus}
    packages = {text: d.package for pair, d in own.items() for text in pair}
    examples = list(tasks.get("summary_match").examples("train"))
    for key in ("text", "text_b"):
        labels = collections.defaultdict(list)
        for example in examples:
            labels[example[key]].append(example["label"])
        assert all(sorted(found) == [0, 1] for found in labels.values())
    for example in examples:
        pair = example["text"], example["text_b"]
        assert (pair in own) == bool(example["label"]) and packages[pair[0]] == packages[pair[1]]


def test_a_summary_does_not_stand_in_its_input(corpus):
    for example in tasks.get("summary").examples("train"):
        assert example["targets"].rstrip(".") not in " ".join(example["inputs"].split())


def test_answers_stand_in_their_contexts_and_foreign_names_do_not(corpus):
    examples = list(tasks.get("section_answer").examples("train"))
    for example in examples:
        (name,) = re.findall("`(.*)`", example["question"])
        if example["answers"]:
            ((answer, first),) = example["answers"]
            assert example["context"][first:].startswith(answer) and answer == answer.strip() != ""
            assert name in example["context"][:first] and len(answer) <= embedded.ANSWER_CHARACTERS
        else:
            assert not re.search(rf"\b{name}\b", example["context"])
        assert len(example["context"]) <= embedded.CONTEXT_CHARACTERS
    assert 0.2 < np.mean([not example["answers"] for example in examples]) < 0.5


def test_every_word_of_code_has_a_kind(corpus):
    task = tasks.get("token_kinds")
    examples = list(task.examples("train"))
    assert all(len(e["words"]) == len(e["tags"]) <= embedded.CODE_WORDS for e in examples)
    assert not any(re.search(r"\s", word) or not word for e in examples for word in e["words"])
    assert {tag for e in examples for tag in e["tags"]} == set(range(len(task.labels())))


def test_labels_are_the_packages_with_the_most_texts(documents):
    assert tasks.get("package").labels() == tuple(f"package{i}" for i in range(11, 1, -1))


def test_texts_have_the_label_of_their_package_and_come_once(documents):
    task = tasks.get("package")
    package, labels = {d.text: d.package for d in documents}, task.labels()
    found = [(e["text"], e["label"]) for split in SPLITS for e in task.examples(split)]
    assert all(package[text] == labels[label] for text, label in found)
    assert len({text for text, _ in found}) == len(found)
    assert collections.Counter(label for _, label in found) == {i: 12 + 4 * (11 - i) for i in range(10)}


def test_the_packages_are_counted_once(documents, monkeypatch):
    labels = tasks.get("package").labels()
    monkeypatch.setattr(pydocs, "documents", None)  # they are kept
    assert tasks.get("package").labels() == labels == tuple(f"package{i}" for i in range(11, 1, -1))
    (kept,) = pydocs.CACHE.iterdir()
    kept.write_text(kept.read_text().replace("package11", "package00"))
    monkeypatch.setattr(pydocs, "documents", lambda: iter(documents))  # damaged: they are counted anew
    assert tasks.get("package").labels() == labels


def test_fingerprints_change_with_the_corpus_and_differ_between_tasks(monkeypatch):
    before = [task.fingerprint() for task in embedded.TASKS]
    monkeypatch.setattr(pydocs, "fingerprint", lambda: "of other packages")
    assert len({*before, *(task.fingerprint() for task in embedded.TASKS)}) == 2 * len(before)


def test_unknown_tasks_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'package'"):
        tasks.get("packages")
