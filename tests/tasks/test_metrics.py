"""Every metric against arithmetic by hand; what has no value has it quietly."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze import tasks
from cloze.errors import DataError
from cloze.tasks import metrics, squad
from cloze.tasks.metrics import METRICS, Likelihood
from tests.tasks.fakes import Fake

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_measures_of_two_classes_follow_from_the_table_of_counts(pairs):
    predictions, references = zip(*pairs, strict=True)
    (tn, fp), (fn, tp) = [[pairs.count((p, r)) for p in (0, 1)] for r in (0, 1)]
    assert metrics.accuracy(predictions, references)["accuracy"] == pytest.approx((tp + tn) / len(pairs))
    f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    assert metrics.f1(predictions, references)["f1"] == pytest.approx(f1)
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    expected = (tp * tn - fp * fn) / root if root else 0.0
    assert metrics.matthews(predictions, references)["matthews"] == pytest.approx(expected)


def test_f1_macro_is_the_mean_over_classes():
    found = metrics.f1_macro([0, 0, 1, 2, 2], [0, 1, 1, 2, 0])["f1_macro"]
    assert found == pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3)
    assert metrics.f1_macro([None, 1], [0, 1])["f1_macro"] == 0.5


def test_relations_count_without_what_is_none():
    right = ["per:title", "per:title", "per:title", "no_relation", "no_relation", "org:city"]
    told = ["per:title", "org:city", "no_relation", "per:title", "no_relation", None]
    found = metrics.relation_f1_micro(told, right)["relation_f1_micro"]  # 1 of the 3 predicted and of the 4 there are
    assert found == pytest.approx(2 * 1 / (3 + 4))
    assert metrics.relation_f1_micro(["no_relation"], ["no_relation"]) == {"relation_f1_micro": 0.0}
    assert metrics.relation_f1_micro(["per:title"], ["no_relation"]) == {"relation_f1_micro": 0.0}


def test_relations_of_a_wrong_direction_are_wrong_and_of_their_class():
    right = ["A-B(e1,e2)", "A-B(e1,e2)", "A-B(e2,e1)", "Other", "Other", "C-D(e1,e2)", "C-D(e2,e1)"]
    told = ["A-B(e1,e2)", "A-B(e2,e1)", "A-B(e2,e1)", "A-B(e1,e2)", "E-F(e1,e2)", "C-D(e1,e2)", None]
    first, second = 2 * 2 / (4 + 3), 2 * 1 / (1 + 2)  # 2 of the 4 predicted and of the 3 there are; 1 of 1 and of 2
    found = metrics.relation_f1_macro(told, right)["relation_f1_macro"]  # E-F is in no answer, and no class
    assert found == pytest.approx((first + second) / 2)
    assert metrics.relation_f1_macro(["A-B(e1,e2)"], ["Other"]) == {"relation_f1_macro": 0.0}


@pytest.mark.parametrize("name, wrong", [("accuracy", 0.5), ("f1", 2 / 3), ("matthews", 0.0)])
def test_an_answer_that_is_no_label_is_wrong(name, wrong):
    assert METRICS[name]([1, None], [1, 0])[name] == pytest.approx(wrong)


def test_correlations():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    assert metrics.pearson(x, y)["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [values.argsort().argsort() for values in (x, y)]
    assert metrics.spearman(x, y)["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert metrics.spearman(np.exp(x), x)["spearman"] == pytest.approx(1.0)
    assert metrics.pearson([None, 1.0, 2.0], [-1.0, 1.0, 2.0])["pearson"] == pytest.approx(1.0)
    for constant in ([0.5] * 3, [0.5]):
        found = [METRICS[name](constant, list(range(len(constant))))[name] for name in ("pearson", "spearman")]
        assert np.isnan(found).all()


@pytest.mark.parametrize("predicted, right, f1", [
    ("B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", 1.0),
    ("B-PER O O B-LOC", "B-PER I-PER O B-LOC", 0.5),  # an entity cut short is none
    ("B-PER I-PER O B-ORG", "B-PER I-PER O B-LOC", 0.5),  # nor is one of another type
    ("I-PER I-PER O I-LOC", "B-PER I-PER O B-LOC", 1.0),  # IOB1: an entity may begin with I
    ("I-PER B-PER O O", "I-PER I-PER O B-LOC", 0.0),
    ("B-PER O O O", "B-PER I-PER O B-LOC", 0.0),
    ("O O O O", "O O O O", 0.0),
])  # fmt: skip
def test_entities_count_whole(predicted, right, f1):
    found = metrics.entity_f1([predicted.split()], [right.split()])
    assert found["entity_f1"] == pytest.approx(f1)


def test_rouge_counts_by_hand():
    found = metrics.rouge(["The cats sat. On a mat it slept."], [["A cat sat on the mat."]])
    # stemmed: the cat sat on a mat it slept / a cat sat on the mat: 6 of 8 and 6; cat sat, sat on: 2 of 7 and 5
    assert found["rouge1"] == pytest.approx(100 * 2 * 6 / 14)
    assert found["rouge2"] == pytest.approx(100 * 2 * 2 / 12)
    # the union of what each reference sentence has in common with any predicted one: cat sat, on mat (or a mat)
    assert found["rougeLsum"] == pytest.approx(100 * 2 * 4 / 14)
    one = "First things first. Second things second."
    other = "Second things second. First things first."
    assert metrics.rouge([one], [[other]])["rougeLsum"] == pytest.approx(100.0)
    assert metrics.rouge([one, ""], [["nothing", one], [one]])["rouge1"] == pytest.approx(50.0)


def test_bleu_counts_by_hand():
    assert metrics.bleu(["a b c d e"], [["a b c d e"]])["bleu"] == pytest.approx(100.0)
    precisions = (4 / 5, 3 / 4, 2 / 3, 1 / 2)
    expected = 100 * math.exp(np.log(precisions).mean() + 1 - 6 / 5)
    assert metrics.bleu(["a b c d x"], [["a b c d e f"]])["bleu"] == pytest.approx(expected)
    several = [["a b c d e"], ["w x y z", "a b c d e", "u v"]]
    assert metrics.bleu(["a b c d e"] * 2, several)["bleu"] == pytest.approx(100.0)
    curly = ["He said “yes” now"], [["He said “ yes ” now"]]
    assert METRICS["bleu_intl"](*curly)["bleu_intl"] == pytest.approx(100.0)
    assert metrics.bleu(*curly)["bleu"] < 50.0


@pytest.mark.parametrize("prediction, references, exact, f1", [
    ("the Denver Broncos!", ["Denver broncos"], 1, 1),
    ("a cat", ["cat", "dog"], 1, 1),
    ("an apple pie", ["apple", "cherry pie"], 0, 2 / 3),
    ("theory", ["the ory"], 0, 0),  # articles are words
    ("well-known", ["wellknown"], 1, 1),  # punctuation goes without a trace
    ("“quoted”", ["quoted"], 0, 0),  # but only that of ASCII
    ("Ünïcode", ["ünïcode"], 1, 1),
    ("x x y", ["x y y"], 0, 2 / 3),  # words count as often as they come
    ("", ["cat"], 0, 0),
    ("cat", [], 0, 0),
    ("", [], 1, 1),
    ("the", [], 1, 1),  # nothing is left of it
    ("", ["the", "?!"], 1, 1),
    ("  white   space\n", ["white space"], 1, 1),
])  # fmt: skip
def test_squad(prediction, references, exact, f1):
    assert squad.score_answer(prediction, references) == pytest.approx((exact, f1))


def test_squad_is_the_mean_over_questions():
    found = metrics.answers(["cat", "", "red dog"], [["cat"], ["cat"], ["dog"]])
    assert found == pytest.approx({"exact_match": 1 / 3, "f1": (1 + 0 + 2 / 3) / 3})


def test_closed_book_answers_are_normalised():
    predictions = ["The Beatles", "new-york", "‘jaws’", ""]
    references = [["Beatles", "Queen"], ["New York"], ["Jaws"], ["nothing"]]
    assert METRICS["exact_match"](predictions, references)["exact_match"] == 1 / 4
    assert METRICS["trivia_qa"](predictions, references)["exact_match"] == 3 / 4


def test_multirc_judges_answers_and_questions():
    found = metrics.multirc([1, 0, 1, 1, 0], [1, 0, 0, 1, 0], ["1-1", "1-1", "1-2", "1-2", "2-1"])
    assert found == pytest.approx({"f1a": 2 * 2 / (3 + 2), "exact_match": 2 / 3})


@pytest.mark.parametrize("text, words, characters, last", [
    ("one two three", 4, 13, "three"),
    ("one two\n\nthree\n", 6, 15, "three"),
    ("one two\n\nthree", 6, 14, "three"),
    ("\n", 1, 1, ""),
    ("", 1, 0, ""),
    ("naïve", 2, 6, "naïve"),
])  # fmt: skip
def test_units(text, words, characters, last):
    assert len(metrics.units(text, "words")) == words and len(metrics.units(text, "characters")) == characters
    assert list(metrics.units(text, "last_word")) == [last] and metrics.last_word(text)[1] == last


def test_likelihoods_are_measured_by_word_or_character_whatever_the_tokens_were():
    texts = [{"text": "one two three"}, {"text": "four"}]
    uniform = [Likelihood(4 * math.log(50)), Likelihood(2 * math.log(50))]  # of 50 words, ends of lines among them
    task = Fake("lm", ("perplexity",), units="words")
    assert metrics.score(task, uniform, texts) == {"perplexity": pytest.approx(50.0)}
    task = Fake("lm", ("bits_per_character",), units="characters")
    assert metrics.score(task, [Likelihood(17 * math.log(256)), Likelihood(0.0)], texts) == {
        "bits_per_character": pytest.approx(8.0)
    }
    task = Fake("lm", ("last_word_accuracy", "perplexity"), units="last_word")
    predictions = [Likelihood(math.log(2), "three"), Likelihood(math.log(8), "five")]
    assert metrics.score(task, predictions, texts) == pytest.approx({"last_word_accuracy": 0.5, "perplexity": 4.0})


@pytest.mark.parametrize("task, examples, predictions, expected", [
    (Fake("class", ("accuracy", "f1")), [{"label": 1}, {"label": 0}], [1, 1], {"accuracy": 0.5, "f1": 2 / 3}),
    (Fake("regression", ("pearson",)), [{"label": 1.0}, {"label": 3.0}], [0.0, 0.1], {"pearson": 1.0}),
    (Fake("tag", ("entity_f1", "accuracy"), ("O", "B-A")),
     [{"words": ["x", "y"], "tags": [0, 1]}, {"words": ["x"], "tags": [1]}], [["O", "B-A"], ["O"]],
     {"entity_f1": 2 / 3, "accuracy": 2 / 3}),
    (Fake("span", ("squad",)), [{"answers": (("a cat", 3), ("dog", 9))}, {"answers": ()}], ["dog", "dog"],
     {"exact_match": 0.5, "f1": 0.5}),
    (Fake("choice", ("accuracy",)), [{"label": 2, "choices": "abc"}], [2], {"accuracy": 1.0}),
    (Fake("class", ("relation_f1_micro", "accuracy"), ("no_relation", "a", "b")),
     [{"label": 0}, {"label": 1}, {"label": 2}, {"label": 2}], [0, 1, 2, None],
     {"relation_f1_micro": 2 * 2 / (2 + 3), "accuracy": 0.75}),
    (Fake("choice", ("record",)), [{"choices": ("Paris", "Rome"), "label": 0, "references": ("Roma", "Rome")}], [1],
     {"exact_match": 1.0, "f1": 1.0}),
    (Fake("class", ("multirc",)), [{"label": 1, "group": "q"}, {"label": 0, "group": "q"}], [1, 1],
     {"f1a": 2 / 3, "exact_match": 0.0}),
    (Fake("text", ("exact_match",)), [{"targets": "x", "references": ("y", "z")}, {"targets": "x"}], ["z", "x"],
     {"exact_match": 1.0}),
    (Fake("text", ("exact_match",)),
     [{"turns": (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))}], ["d"],
     {"exact_match": 1.0}),
])  # fmt: skip
def test_score_knows_what_each_kind_is_compared_with(task, examples, predictions, expected):
    found = metrics.score(task, predictions, examples)
    assert found == pytest.approx(expected)
    assert len(task.metrics) == 1 or list(found)[0] == task.metrics[0]


def test_what_cannot_be_scored_is_refused():
    task = Fake("class", ("accuracy",))
    with pytest.raises(DataError, match="example 1 of the split has no label .* Use the validation split"):
        metrics.score(task, [0, 0], [{"label": 0}, {"label": None}])
    unknown = {"tag": {"words": ["a"], "tags": None}, "span": {"answers": None}, "text": {"targets": None}}
    for kind, example in unknown.items():
        task = Fake(kind, ("squad" if kind == "span" else "accuracy",), ("O",))
        with pytest.raises(DataError, match="example 0 of the split has no label"):
            metrics.score(task, [["O"] if kind == "tag" else ""], [example])
    with pytest.raises(DataError, match="example 0 of the split has no label"):
        metrics.score(Fake("text", ("rouge",)), ["b"], [{"turns": (("user", "a"), ("assistant", None))}])
    with pytest.raises(DataError, match="there is nothing to score"):
        metrics.score(task, [], [])
    with pytest.raises(ValueError, match="example 0 has 2 words but 1 predicted tags"):
        metrics.score(Fake("tag", ("accuracy",), ("O",)), [["O"]], [{"words": ["a", "b"], "tags": [0, 0]}])


def test_every_task_names_metrics_that_there_are():
    for task in (*tasks.TASKS.values(), *tasks.BENCHMARKS.values()):
        assert task.metrics and set(task.metrics) <= set(METRICS), task.name
        assert task.kind != "lm" or len(metrics.units("some text", task.units)) > 0
