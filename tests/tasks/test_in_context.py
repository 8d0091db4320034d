"""Examples in front of prompts: which, with which answers; and which of several answers counts."""

import collections
import types

import numpy as np
import pytest

from cloze.errors import ConfigError, DataError
from cloze.tasks import label_scores, shots
from cloze.tasks.label_scores import AnswerScores
from cloze.tasks.shots import InContext
from cloze.training import curves
from cloze.training.evaluation import Evaluation

TRAINING = [{"inputs": f"text {n}", "targets": ("yes", "no", "perhaps")[n % 3]} for n in range(30)]
LABELS = ("yes", "no", "perhaps")


def chosen(count, **how):
    return shots.chosen(iter(TRAINING), count, "fake", InContext(**how), LABELS)


def test_the_first_ones_are_shown_or_drawn_ones_of_which_few_are_among_more():
    assert chosen(3) == TRAINING[:3]
    drawn = [chosen(8, draw=n) for n in range(4)]
    assert len({str(some) for some in drawn}) == 4 and drawn[0] == chosen(8, draw=0)
    assert all(some[:4] == chosen(4, draw=n) for n, some in enumerate(drawn))
    assert all(len({one["inputs"] for one in some}) == 8 for some in drawn)
    with pytest.raises(DataError, match="has 30 training examples: lower --num_shots=31"):
        chosen(31, draw=0)


def test_random_labels_are_uniform_and_permuted_ones_occur_as_often():
    gold = chosen(30, draw=1)
    permuted, random = (chosen(30, draw=1, labels=labels) for labels in ("permuted", "random"))

    def targets(some):
        return [one["targets"] for one in some]

    for some in (permuted, random):
        assert [one["inputs"] for one in some] == [one["inputs"] for one in gold] and targets(some) != targets(gold)
    assert collections.Counter(targets(permuted)) == collections.Counter(targets(gold))
    many = collections.Counter(t for n in range(100) for t in targets(chosen(30, draw=n, labels="random")))
    assert set(many) == set(LABELS) and all(abs(count - 1000) < 100 for count in many.values())  # 4 deviations of 26
    assert TRAINING[0] == {"inputs": "text 0", "targets": "yes"}  # what is shown is a copy


def test_labels_that_cannot_be_changed_are_refused():
    own = [{"inputs": "", "targets": "a", "choices": ("a", "b")}]
    (shown,) = shots.chosen(own, 1, "fake", InContext(labels="random"))
    assert shown["targets"] in ("a", "b")
    with pytest.raises(ConfigError, match="choices of task fake belong to one example; use random"):
        shots.chosen(own, 1, "fake", InContext(labels="permuted"))
    with pytest.raises(ConfigError, match="task fake has no labels to draw among; use permuted"):
        shots.chosen(TRAINING, 1, "fake", InContext(labels="random"))


def test_answers_are_compared_by_hand():
    scores = [AnswerScores(np.array([-4.0, -6.0, -3.5]), np.array([2.0, 4.0, 1.0]))]
    words = [("yes it is", "it is not so at all", "no")]
    assert label_scores.best(scores, words, "answer") == [2]
    assert label_scores.best(scores, words, "token") == [1]  # -2, -1.5, -3.5
    assert label_scores.best(scores, words, "character") == [1]  # -4 / 9, -6 / 19, -3.5 / 2
    empty = [[AnswerScores(np.log([0.2, 0.1, 0.7]), None), AnswerScores(np.log([0.1, 0.1, 0.2]), None)]]
    shares = (np.array([0.2, 0.1, 0.7]) + np.array([0.25, 0.25, 0.5])) / 2
    expected = int(np.argmax(np.exp(scores[0].log_probs) / shares))
    assert label_scores.best(scores, words, "calibrated", empty) == [expected] == [0]


def test_inputs_that_say_nothing_hold_none_of_the_texts():
    example = {"text": "a cat", "text_b": "a cat sat", "label": 1}
    prompt = "rte sentence1: a cat sentence2: a cat sat"
    assert label_scores.emptied(prompt, example, "N/A", "rte") == "rte sentence1: N/A sentence2: N/A"
    with pytest.raises(ConfigError, match="those of task wsc write them otherwise"):
        label_scores.emptied("wsc: *a* cat", {"text": "a dog"}, "", "wsc")


def test_a_curve_has_means_and_spreads_over_draws():
    asked = []

    def evaluate(count, draw):
        asked.append((count, draw))
        return Evaluation(types.SimpleNamespace(name="fake"), [], [], {"accuracy": count + (draw or 0) / 10}, {})

    found = curves.curve(evaluate, [0, 1, 4], 3).shots
    assert asked == [(0, None), *((count, draw) for count in (1, 4) for draw in range(3))]
    assert list(found) == ["0 shots", "1 shot", "4 shots"]
    means, spreads = found["4 shots"]
    assert means == {"accuracy": pytest.approx(4.1)} and spreads == {"accuracy": pytest.approx(0.1)}
    assert np.isnan(found["0 shots"][1]["accuracy"])
    assert curves.curve(evaluate, [4], 0).shots == {} and asked[-1] == (4, None)
