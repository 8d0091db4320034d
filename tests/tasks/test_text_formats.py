"""T5's formats: the examples of the paper's appendix D and of the authors' code, and what answers are taken for."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze import tasks
from cloze.errors import ConfigError
from cloze.tasks import metrics, text_formats
from cloze.tasks.base import PROBES
from tests.tasks.distributed import DISTRIBUTED, MULTIRC, RECORD, RECORD_TEXT, SQUAD, WIC, WSC
from tests.tasks.prepared import table, write


def as_text(name, files):
    return tasks.AsText(tasks.get(name, files=files))


def written(name, split, files):
    """(inputs, targets) of each example."""
    return [(example["inputs"], example["targets"]) for example in as_text(name, files).examples(split)]


CARDINALS = (
    "yeah well losing is i mean i'm i'm originally from Saint Louis and Saint Louis Cardinals when they were there "
    "were uh a mostly a losing team but"
)
STABLE = {
    "text": "The stable was very roomy, with four good stalls; a large swinging window opened into the yard , which "
    "made it pleasant and airy.",
    "target": {"span1_index": 1, "span1_text": "stable", "span2_index": 18, "span2_text": "it"}, "label": True,
     "idx": 0,
}  # fmt: skip
PURETUNES = (
    "Representatives for Puretunes could not immediately be reached for comment Wednesday.",
    "Puretunes representatives could not be located Thursday to comment on the suit.",
)

# --- Examples of the paper's appendix ---


@pytest.mark.parametrize("name, file, content, inputs, targets", [
    ("cola", "train.tsv", table(("x", "1", "", "John made Bill master of himself.")),
     "cola sentence: John made Bill master of himself.", "acceptable"),
    ("mnli", "train.tsv", table(("sentence1", "sentence2", "gold_label"),
                                (CARDINALS, "The St. Louis Cardinals have always won.", "contradiction")),
     f"mnli hypothesis: The St. Louis Cardinals have always won. premise: {CARDINALS}", "contradiction"),
    ("stsb", "train.tsv", table(("sentence1", "sentence2", "score"), (*PURETUNES, "3.25")),
     f"stsb sentence1: {PURETUNES[0]} sentence2: {PURETUNES[1]}", "3.2"),
    ("stsb", "train.tsv", table(("sentence1", "sentence2", "score"), (
        "Three more US soldiers killed in Afghanistan", "NATO Soldier Killed in Afghanistan", "1.8")),
     "stsb sentence1: Three more US soldiers killed in Afghanistan sentence2: NATO Soldier Killed in Afghanistan",
      "1.8"),
    ("qqp", "train.tsv", table(("question1", "question2", "is_duplicate"), (
        "Why do I easily get bored of my friends?", "Why do I get bored of friends so quickly?", "1")),
     "qqp question1: Why do I easily get bored of my friends? question2: Why do I get bored of friends so quickly?",
     "duplicate"),
    ("wsc", "train.jsonl", [STABLE],
     "wsc: The stable was very roomy, with four good stalls; a large swinging window opened into the yard , which made "
     "*it* pleasant and airy.", "stable"),
    ("boolq", "train.jsonl", [{"question": "is it", "passage": "It is.", "label": True}],
     "boolq passage: It is. question: is it", "True"),
    ("copa", "train.jsonl", [{"premise": "Political violence broke out in the nation.", "question": "effect",
     "label": 1,
                              "choice1": "Many citizens relocated to the capitol.",
                              "choice2": "Many citizens took refuge in other territories."}],
     "copa choice1: Many citizens relocated to the capitol. choice2: Many citizens took refuge in other territories. "
     "premise: Political violence broke out in the nation. question: effect", "choice2"),
    ("super_glue_rte", "train.jsonl", [{"premise": "P.", "hypothesis": "H.", "label": "entailment"}],
     "rte hypothesis: H. premise: P.", "entailment"),
    ("wic", "train.jsonl", [WIC],
     f"wic sentence1: {WIC['sentence1']} sentence2: {WIC['sentence2']} word: place", "False"),
    ("natural_questions", "NQ-open.train.jsonl", [{"question": "who sang", "answer": ["Ann", "Bob"]}],
     "nq question: who sang", "Ann"),
])  # fmt: skip
def test_published_examples(tmp_path, name, file, content, inputs, targets):
    assert written(name, "train", write(tmp_path, {file: content})) == [(inputs, targets)]


@pytest.mark.parametrize("name, inputs", [
    ("wmt14_en_de", "translate English to German: One house."),
    ("wmt14_en_fr", "translate English to French: One house."),
    ("wmt16_en_ro", "translate English to Romanian: One house."),
    ("cnn_dailymail", "summarize: An article."),
    ("trivia_qa", "trivia_qa question: Who sang?"),
    ("web_questions", "wq question: who sang?"),
    ("mnli_mismatched", "mnli hypothesis: A tall man. premise: A man."),
    ("snli", "snli hypothesis: A tall man. premise: A man."),
])  # fmt: skip
def test_what_stands_in_front(tmp_path, name, inputs):
    split, files, _ = DISTRIBUTED[name]
    assert [found for found, _ in written(name, split, write(tmp_path, files))] == [inputs]


def test_multirc_has_its_markup_removed(tmp_path):
    found = written("multirc", "train", write(tmp_path, {"train.jsonl": [MULTIRC]}))
    assert found == [
        (f"multirc question: Who ate? answer: {name} paragraph: Sent 1: Ann ate. Sent 2: Bob slept.", target)
        for name, target in (("Ann", "True"), ("Bob", "False"))
    ]


def test_record_is_learned_once_an_answer_and_asked_once(tmp_path):
    query = RECORD["qas"][0] | {"answers": [{"text": "Rome"}, {"text": "pigeon"}]}
    record = RECORD | {"qas": [query]}
    entities = ", ".join(sorted({RECORD_TEXT[e["start"] : e["end"] + 1] for e in RECORD["passage"]["entities"]}))
    files = write(tmp_path, {"train.jsonl": [record], "val.jsonl": [record]})
    task = as_text("record", files)
    train, validation = list(task.examples("train")), list(task.examples("validation"))
    expected = (
        f"record query: A @placeholder is a city. entities: {entities} passage: The Zoo. A penguin and a pigeon. "
    )
    assert {example["inputs"] for example in train + validation} == {expected + "live in Rome."}
    assert [example["targets"] for example in train] == ["Rome", "pigeon"] and len(validation) == 1
    assert validation[0]["references"] == ("Rome", "pigeon")


def test_squad_is_spaced_on_both_sides_and_judged_so(tmp_path):
    task = as_text("squad_v2", write(tmp_path, {"dev-v2.0.json": [SQUAD]}))
    first, second = task.examples("validation")
    assert (
        first["inputs"] == "question: Who sang ? context: Beyonc \u00e9 sang in Rome ."
    )  # letters are ASCII's, as T5's
    assert (first["targets"], second["targets"]) == ("Beyonc \u00e9", "unanswerable")
    answers = [task.parse(text, example) for text, example in (("Beyonc \u00e9", first), ("unanswerable", second))]
    assert answers == ["Beyonc \u00e9", ""]
    scores = metrics.score(task.task, answers, [first["example"], second["example"]])
    assert set(scores.values()) == {1.0}


@given(st.text(alphabet="ab_1 .,'-\u00e9\n"))
def test_spacing_separates_all_but_letters_digits_and_underscores(text):
    spaced = text_formats.spaced(text)
    assert re.sub(r"\s", "", spaced) == re.sub(r"\s", "", text)
    assert text_formats.spaced(spaced) == spaced
    assert all(re.fullmatch(r"[A-Za-z0-9_]+|\W|[^\x00-\x7f]", word) for word in spaced.split(" ") if word)


# --- What answers are taken for ---


@pytest.fixture
def rte(tmp_path):
    rows = table(("sentence1", "sentence2", "label"), ("A.", "B.", "entailment"), ("C.", "D.", "not_entailment"))
    return as_text("rte", write(tmp_path, {"dev.tsv": rows}))


def test_a_word_that_is_no_label_is_wrong_and_counts(rte):
    examples = list(rte.examples("validation"))
    assert rte.label_words() == ("entailment", "not_entailment") and rte.labels() == ()
    found = [rte.parse(text, examples[0]) for text in ("entailment", " not_entailment ", "hamburger", "", "Entailment")]
    assert found == [0, 1, None, None, None]
    truths = [example["example"] for example in examples]
    for texts, accuracy in ((("entailment", "not_entailment"), 1.0), (("entailment", "hamburger"), 0.5)):
        predictions = [rte.parse(text, example) for text, example in zip(texts, examples, strict=True)]
        assert metrics.score(rte.task, predictions, truths)["accuracy"] == accuracy


def test_scores_are_written_to_the_nearest_fifth_and_read_back(tmp_path):
    scores = np.arange(0, 501) / 100
    rows = table(("sentence1", "sentence2", "score"), *[("A", "B", f"{score:.2f}") for score in scores])
    task = as_text("stsb", write(tmp_path, {"train.tsv": rows}))
    found = list(task.examples("train"))
    assert len({example["targets"] for example in found}) == 26
    values = np.array([task.parse(example["targets"], example) for example in found])
    assert np.abs(values - scores).max() <= 0.1 + 1e-6
    assert [task.parse(text, found[0]) for text in ("1.6", "hamburger", "nan", "inf", "")] == [
        1.6,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("text, label", [
    ("stable", 1), ("The stable", 1), ("the large stable", 1), ("yard", 0), ("", 0), ("the", 0), ("stable's window", 0),
])  # fmt: skip
def test_a_referent_is_judged_by_its_words(tmp_path, text, label):
    task = as_text("wsc", write(tmp_path, {"val.jsonl": [STABLE]}))
    (example,) = task.examples("validation")
    assert task.parse(text, example) == label


def test_pronouns_that_stand_for_another_are_asked_but_not_learned(tmp_path):
    rows = [WSC, WSC | {"label": False, "idx": 3}]
    task = as_text("wsc", write(tmp_path, {"train.jsonl": rows, "val.jsonl": rows}))
    assert [example["id"] for example in task.examples("train")] == ["2"]
    found = list(task.examples("validation"))
    assert [example["id"] for example in found] == ["2", "3"]
    assert (
        metrics.score(task.task, [task.parse("Pete", e) for e in found], [e["example"] for e in found])["accuracy"]
        == 0.5
    )


def test_a_pronoun_is_the_nearest_word_to_its_stated_place(tmp_path):
    row = WSC | {
        "text": "He said it , and it was so .",
        "target": WSC["target"] | {"span2_text": "it", "span2_index": 6},
    }
    ((inputs, _),) = written("wsc", "train", write(tmp_path, {"train.jsonl": [row]}))
    assert inputs == "wsc: He said it , and *it* was so ."


# --- All tasks ---


@pytest.mark.parametrize(
    "name", [name for name in DISTRIBUTED if tasks.BENCHMARKS[name].kind not in ("tag", "lm", *PROBES)]
)
def test_right_answers_are_read_back_and_examples_belong_to_those_of_the_task(name, tmp_path):
    split, files, expected = DISTRIBUTED[name]
    task = as_text(name, write(tmp_path, files))
    found = list(task.examples(split))
    assert [example["example"]["id"] for example in found] == [example["id"] for example in expected]
    assert all(isinstance(example[key], str) for example in found for key in ("inputs", "targets"))
    for example, truth in zip(found, expected, strict=True):
        answer = task.parse(example["targets"], example)
        if truth.get("label") is not None:
            assert answer == pytest.approx(truth["label"])
        elif task.task.kind == "text":
            assert answer == truth["targets"]
    assert task.fingerprint() not in (task.task.fingerprint(), None) and task.kind == "text"


def test_tasks_that_t5_has_not_learned_are_written_the_same_way(tmp_path):
    rows = [{"text": "a", "text_b": "b", "label": "yes"}, {"text": "c", "label": "no"}]
    found = written("jsonl:class", "train", write(tmp_path, {"train.jsonl": rows}))
    assert found == [("jsonl:class sentence1: a sentence2: b", "yes"), ("jsonl:class sentence: c", "no")]
    rows = [{"context": "c", "choices": ["x", "y", "z"], "label": 2}]
    found = written("jsonl:choice", "train", write(tmp_path, {"train.jsonl": rows}))
    assert found == [("jsonl:choice choice1: x choice2: y choice3: z context: c", "choice3")]
    rows = [{"inputs": "a", "targets": "b"}, {"turns": [{"role": "assistant", "text": "x"}]}]
    task = as_text("jsonl:text", write(tmp_path, {"train.jsonl": rows}))
    first, second = task.examples("train")
    assert first["inputs"] == "a" and second["turns"] == (("assistant", "x"),)


def test_a_missing_label_is_written_as_unknown(tmp_path):
    files = write(tmp_path, {"test.jsonl": [{"premise": "P.", "hypothesis": "H"}]})
    assert written("cb", "test", files) == [("cb hypothesis: H premise: P.", "<unk>")]
    write(tmp_path, {"test.jsonl": [{"question": "q", "context": "c"}]})
    assert written("jsonl:span", "test", files) == [("question: q context: c", "<unk>")]


def test_tags_and_plain_text_have_no_text_format():
    for name in ("conll2003", "lm1b", "probes"):
        with pytest.raises(ConfigError, match="cannot be read as text to text"):
            tasks.AsText(tasks.get(name))
