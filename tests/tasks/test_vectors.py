"""Ranks by cosine against loops, and pairs that are read for vectors."""

import types

import numpy as np
import pytest

from cloze import tasks
from cloze.errors import ConfigError, DataError
from cloze.tasks import baselines, metrics, predict, vectors
from tests.tasks.prepared import table, write

RNG = np.random.default_rng(0)
TEXTS = [("a", "b", "c"), ("d", "e"), ("e", "b"), ("f", "g", "b", "d"), ("g", "h")]


def vectors_of(texts, size=3):
    """A vector of each text, which is the same wherever it stands."""
    of = {text: RNG.normal(size=size) for some in texts for text in some}
    return [np.stack([of[text] / np.linalg.norm(of[text]) for text in some]) for some in texts], of


def by_loops(texts, of):
    found = []
    for anchor, positive, *_ in texts:

        def cosine(text, anchor=anchor):
            return of[anchor] @ of[text] / np.linalg.norm(of[anchor]) / np.linalg.norm(of[text])

        others = {text for some in texts for text in some[1:]} - {anchor, positive}
        found.append(1 + sum(cosine(text) >= cosine(positive) for text in others))
    return found


def test_ranks_are_among_all_texts_of_the_split(monkeypatch):
    monkeypatch.setattr(vectors, "_AT_ONCE", 2)
    given, of = vectors_of(TEXTS)
    examples = [{"texts": some} for some in TEXTS]
    padded = [np.concatenate([3 * one, np.full((4, 3), 9.0)])[:4] for one in given]  # others of the batch had more
    task = types.SimpleNamespace(kind="embedding", metrics=("retrieval",), labels=lambda: (), name="own")
    found = vectors.predictions(task, examples, padded)
    assert found == by_loops(TEXTS, of) and len(set(found)) > 1
    scores = metrics.score(task, found, examples)
    assert scores["recall_at_1"] == np.mean(np.array(found) == 1) and scores["recall_at_10"] == 1
    assert scores["reciprocal_rank"] == pytest.approx(np.mean(1 / np.array(found)))
    alike = vectors.ranks(TEXTS, np.ones((sum(map(len, TEXTS)), 1)))  # of equal ones the last
    assert alike == [1 + len({t for s in TEXTS for t in s[1:]} - {some[0], some[1]}) for some in TEXTS]


def test_numbers_are_answered_with_cosines():
    given, _ = vectors_of([("a", "b"), ("c", "d")])
    task = types.SimpleNamespace(kind="regression")
    features = types.SimpleNamespace(layout=types.SimpleNamespace(kind="embedding"), arrays={"example": np.arange(2)})
    scored = [(np.stack([2 * given[1], 5 * given[0]]), np.array([1, 0])), (np.zeros((1, 2, 3)), np.array([-1]))]
    found = predict.from_heads(task, [{}, {}], features, scored, None)
    assert found == pytest.approx([one[0] @ one[1] for one in given])


def test_words_that_texts_share_are_a_baseline():
    texts = [("red fox", "the red fox"), ("blue sea", "a sea of blue"), ("odd", "none of these")]
    task = types.SimpleNamespace(kind="embedding")
    examples = [{"texts": some} for some in texts]
    assert baselines.predictions(task, examples)["shared_words"] == [1, 1, 3]
    assert baselines.predictions(task, [{"texts": ("?", "!")}]) == {}


def test_pairs_of_one_meaning(tmp_path):
    rows = [("a", "b", "4.0"), ("c", "d", "3.9"), ("e", "f", "5")]
    files = write(tmp_path / "stsb", {"train.tsv": table(("sentence1", "sentence2", "score"), *rows)})
    made = tasks.AsPairs(tasks.get("stsb", files))
    assert [example["texts"] for example in made.examples("train")] == [("a", "b"), ("e", "f")]
    assert made.fingerprint() != made.task.fingerprint()
    rows = [("a", "b", "yes"), ("c", "d", "no")]
    files = write(tmp_path / "own", {"train.tsv": table(("text", "text_b", "label"), *rows)})
    with pytest.raises(ConfigError, match="tsv:class does not say which texts mean the same.*summary_match"):
        tasks.AsPairs(tasks.get("tsv:class", files))
    with pytest.raises(DataError, match="one text, where two"):
        tasks.compared({"text": "a"})
