"""Baselines know the training labels and nothing of the input, and count what they predict."""

import math

import pytest

from cloze.errors import DataError
from cloze.tasks.baselines import baselines, scores
from tests.tasks.fakes import Fake


def labelled(*labels):
    return [{"label": label} for label in labels]


def texts(*pairs):
    return [{"inputs": inputs, "targets": targets} for inputs, targets in pairs]


TAGS = [{"words": ["the", "run"], "tags": [0, 1]}, {"words": ["run", "run", "fast"], "tags": [2, 2, 2]}]
STORY = "It rained. We left!\nThen it stopped. Nobody\ncame back."


@pytest.mark.parametrize("task, expected", [
    (Fake("class", ("accuracy",), train=labelled(2, 1, 2, 0), test=labelled(0, 2)), {"majority": [2, 2]}),
    (Fake("class", ("accuracy",), train=labelled(1, 0), test=labelled(1)), {"majority": [0]}),
    (Fake("choice", ("accuracy",), train=labelled(3, 3, 0), test=labelled(1)), {"majority": [3]}),
    (Fake("regression", ("pearson",), train=labelled(1.0, 2.0, 4.5), test=labelled(0.0)), {"mean": [2.5]}),
    (Fake("tag", ("accuracy",), ("D", "N", "V"), train=TAGS,
          test=[{"words": ["run", "the", "dog"], "tags": [1, 0, 1]}]),
     {"majority": [["V"] * 3], "lexicon": [["V", "D", "V"]]}),
    (Fake("span", ("squad",), test=[{"context": STORY, "question": "?", "answers": ()}]),
     {"no_answer": [""], "first_sentence": ["It rained."]}),
    (Fake("text", ("rouge",), test=texts((STORY, "Rain."))),
     {"lead_3": ["It rained. We left!\nThen it stopped."], "first_line": ["It rained. We left!"]}),
    (Fake("text", ("bleu",), test=texts(("one", "eins"))), {"copy": ["one"]}),
    (Fake("text", ("exact_match",), train=texts(("a", "x"), ("b", "y"), ("c", "y")), test=texts(("a", "x"))),
     {"majority": ["y"]}),
])  # fmt: skip
def test_predictions(task, expected):
    assert baselines(task, "test") == expected


def test_of_a_dialogue_what_stands_before_the_last_answer_is_read():
    asked, answered = ("user", "One? Two?"), ("assistant", "Yes.")
    dialogues = [(asked, answered), (asked, answered, ("user", "Thanks.")), (answered,), (answered, ("user", "Why?"))]
    task = Fake("text", ("bleu",), test=[{"turns": turns} for turns in dialogues])
    assert baselines(task, "test") == {"copy": ["One? Two?", "One? Two?", "", ""]}


def test_a_unigram_model_gives_every_word_its_share():
    task = Fake("lm", ("perplexity",), units="words", train=[{"text": "a b a"}], test=[{"text": "a c"}])
    ((name, (prediction,)),) = baselines(task, "test").items()
    counts = {"a": 3, "b": 2, "\n": 2, "unseen": 1}  # one more than they are
    total = sum(counts.values())
    assert name == "unigram"
    assert prediction.nats == pytest.approx(-sum(math.log(counts[word] / total) for word in ("a", "unseen", "\n")))
    assert scores(task, "test")["unigram"]["perplexity"] == pytest.approx(math.exp(prediction.nats / 3))


def test_the_last_word_is_the_most_frequent_one_of_training():
    train = [{"text": "to the moon"}, {"text": "the moon"}, {"text": "by the the"}]
    test = [{"text": "over the moon"}, {"text": "the sun"}]
    task = Fake("lm", ("last_word_accuracy",), units="last_word", train=train, test=test)
    assert scores(task, "test") == {"unigram": {"last_word_accuracy": 0.5}}


def test_baselines_are_scored_by_the_metrics_of_the_task():
    task = Fake("class", ("accuracy", "f1"), train=labelled(1, 1, 0), validation=labelled(1, 0, 0, 0))
    assert scores(task, "validation") == {"majority": pytest.approx({"accuracy": 0.25, "f1": 0.4})}


def test_without_training_examples_there_is_no_majority():
    with pytest.raises(DataError, match="no split 'train'"):
        baselines(Fake("class", ("accuracy",), test=labelled(0)), "test")
