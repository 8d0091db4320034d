"""Minimal pairs, facts with a blank and the probes: what is read of files, and what answers are worth."""

import json
import math
import types

import numpy as np
import pytest

from cloze import tasks
from cloze.configs.base import get_base
from cloze.errors import ConfigError, DataError
from cloze.tasks import metrics, probing, tables, uncertainty
from cloze.tasks.metrics import Ranking
from cloze.tasks.text_scores import Blank, TextScore
from tests.tasks import prepared
from tests.tasks.fakes import Fake

PAIR = {"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "agreement", "field": "syntax",
        "linguistics_term": "subject_verb_agreement"}  # fmt: skip
FACT = {"masked_sentence": "Paris is in [MASK].", "obj_label": "France", "predicate_id": "P17"}


def test_pairs_are_read_from_files_of_blimp(tmp_path):
    other = PAIR | {"UID": "islands", "sentence_bad": "Is it are."}
    folder = prepared.write(tmp_path, {"data/agreement.jsonl": [PAIR, PAIR], "data/islands.jsonl": [other]})
    found = list(tasks.get("blimp", folder).examples("validation"))
    assert [one["paradigm"] for one in found] == ["agreement", "agreement", "islands"]
    assert found[2]["texts"] == ("It is.", "Is it are.") and found[2]["label"] == 0
    assert len({one["id"] for one in found}) == 3


def test_pairs_without_a_paradigm_are_one_by_the_name_of_their_file(tmp_path):
    """As in the supplement of BabyLM."""
    line = {"sentence_good": "If it is a dog, it is a mammal.", "sentence_bad": "If it is a dog, it is a cat."}
    folder = prepared.write(tmp_path, {"hypernym.jsonl": [line, line]})
    found = list(tasks.get("blimp", folder).examples("validation"))
    assert [(one["paradigm"], one["id"]) for one in found] == [("hypernym", "hypernym/1"), ("hypernym", "hypernym/2")]


@pytest.mark.parametrize("name, line, message", [
    ("blimp", {k: v for k, v in PAIR.items() if k != "sentence_bad"}, r"a.jsonl:2: no field 'sentence_bad'"),
    ("blimp", PAIR | {"sentence_good": 3}, r"a.jsonl:2: texts is 3, where text is expected"),
    ("lama", {k: v for k, v in FACT.items() if k != "obj_label"}, r"a.jsonl:2: no field 'obj_label'"),
    ("lama", {"obj_label": "x"}, r"a.jsonl:2: no field 'masked_sentence'"),
    ("lama", FACT | {"masked_sentence": "Paris."}, r"a.jsonl:2: 'Paris.' has 0 blanks: write \[MASK\] once"),
    ("lama", {"evidences": [], "predicate_id": "P17"}, r"a.jsonl:2: .* no relations.jsonl .* has one of 'P17'"),
    ("lama", FACT | {"obj_label": 7}, r"a.jsonl:2: field 'obj_label' holds 7"),
])  # fmt: skip
def test_a_line_that_is_wrong_is_named(tmp_path, name, line, message):
    folder = prepared.write(tmp_path, {"a.jsonl": [PAIR if name == "blimp" else FACT, line]})
    with pytest.raises(DataError, match=message):
        list(tasks.get(name, folder).examples("validation"))


def test_unknown_tasks_and_tasks_without_files_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'blimp'"):
        tasks.get("blimb", "x")
    with pytest.raises(ConfigError, match=r"task lama reads files .*: set task.files to the folder with TREx"):
        tasks.get("lama")


def test_facts_of_lama_have_the_fields_of_their_source(tmp_path):
    google = {"pred": "/people/person/place_of_birth", "sub": "/m/0f", "obj": "/m/0g", "sub_label": "Ann", "obj_label":
              "Rome", "evidences": [{"url": "u", "snippet": "s", "considered_sentences": []}], "uuid": "g",
              "masked_sentences": ["Ann came from [MASK] and left [MASK]."]}  # fmt: skip
    concept = {"sub": "bird", "obj": "nest", "pred": "AtLocation", "masked_sentences": ["A bird has a [MASK]."],
               "obj_label": "nest", "uuid": "c"}  # fmt: skip
    squad = {"masked_sentences": ["To the North lies [MASK]."], "obj_label": "York", "id": "5", "sub_label": "Squad"}
    folder = prepared.write(tmp_path, {"test.jsonl": [google, concept, squad]})
    found = list(tasks.get("lama", folder).examples("validation"))
    assert [one["answer"] for one in found] == ["Rome", "nest", "York"] and found[2]["id"] == "5"
    assert [one.get("paradigm") for one in found] == ["/people/person/place_of_birth", "AtLocation", None]
    assert found[0]["text"].count("[MASK]") == 2  # no line that is wrong: some evidences are so


def test_facts_may_be_of_several_sentences(tmp_path):
    line = {"masked_sentences": ["Paris is old.", "It is in [MASK]."], "obj_label": "France", "uuid": "a1"}
    folder = prepared.write(tmp_path, {"a.jsonl": [line]})
    (one,) = tasks.get("lama", folder).examples("validation")
    assert one["text"] == "Paris is old. It is in [MASK]." and one["answer"] == "France" and one["id"] == "a1"


def test_probes_differ_in_their_answers_alone():
    examples = list(tasks.get("probes").examples("validation"))
    pairs = [one for one in examples if "question" not in one]
    assert len(pairs) == 6 and len({one["id"] for one in examples}) == len(examples)
    for one in examples:
        assert len(set(one["texts"])) == len(one["texts"]) and one["label"] == 0
    for one in examples:
        if "question" in one:
            before, after = one["question"].split("[MASK]")
            assert [text[len(before) : len(text) - len(after)] for text in one["texts"]] == list(one["answers"])
    with pytest.raises(DataError, match="no test split"):
        list(tasks.get("probes").examples("test"))


def test_nothing_is_finetuned_on_them():
    config = get_base()
    for name, files in (("probes", ""), ("blimp", "x"), ("lama", "x")):
        config.task.update(name=name, files=files)
        with pytest.raises(ConfigError, match=f"task {name} judges models as they were pretrained"):
            tasks.read_by(config, types.SimpleNamespace(kind="examples"))


def test_a_tie_is_no_success():
    task = Fake("ranking", ("ranking",))
    found = [Ranking((-1.0, -2.0)), Ranking((-2.0, -2.0)), Ranking((-3.0, -2.0, -1.0)), Ranking((-1.0, -3.0, -3.0))]
    scores = metrics.score(task, found, [{"label": 0}] * 4)
    assert scores == {"accuracy": 0.5, "reciprocal_rank": pytest.approx((1 + 1 / 2 + 1 / 3 + 1) / 4)}
    pairs = metrics.score(Fake("ranking", ("minimal_pairs",)), found[:2], [{"label": 0}] * 2)
    assert pairs == {"accuracy": 0.5}


def test_precision_and_reciprocal_rank_of_blanks():
    found = [Blank(rank, -1.0, ()) for rank in (1, 10, 11, 2)]
    scores = metrics.score(Fake("cloze", ("cloze",)), found, [{"answer": "a"}] * 4)
    assert scores["precision_at_1"] == 0.25 and scores["precision_at_10"] == 0.75
    assert scores["reciprocal_rank"] == pytest.approx((1 + 1 / 10 + 1 / 11 + 1 / 2) / 4)


class Scorer:
    """Longer texts are less probable; every blank is `a`."""

    length = 64

    def __init__(self):
        self.said = []
        self.report = self.said.append

    def fits(self, texts):
        return [len(text) <= 110 for text in texts]

    def scores(self, texts, what):
        return [TextScore(-float(len(text)), 1) for text in texts]

    def blanks(self, texts, answers, count=10):
        return [Blank(3, -1.0, (("a", 1.0),)) if len(answer) == 1 else None for answer in answers]


def test_answers_of_several_pieces_are_left_out_and_counted():
    examples = [{"text": "[MASK]", "answer": answer} for answer in ("x", "long", "y")]
    scorer = Scorer()
    kept, found = probing.predictions(Fake("cloze", ("cloze",)), examples, scorer)
    assert [one["answer"] for one in kept] == ["x", "y"] and len(found) == 2
    assert "1 of 3 answers are not one piece" in scorer.said[0]
    with pytest.raises(DataError, match="no answer is one piece of this model's vocabulary, such as 'long' in 'long'"):
        probing.predictions(Fake("cloze", ("cloze",)), examples[1:2], scorer)


def test_probes_are_printed_in_the_model_s_order():
    task, scorer = tasks.get("probes"), Scorer()
    examples, found = probing.predictions(task, list(task.examples("validation")), scorer)
    assert len(examples) == 16 and "1 of 17 examples are longer than the rows of 64 tokens" in scorer.said[0]
    with pytest.raises(DataError, match="no example fits rows of 64 tokens"):
        probing.predictions(task, [{"texts": ("x" * 200, "y")}], scorer)
    lines = "\n".join(tables.rankings(examples, found))
    arithmetic = lines[lines.index("arithmetic") :]
    assert "arithmetic: 3 + 8 + 4 = ___\n  *15 -14.00 | 12 -14.00" in arithmetic and "wrong: rank 5 of 5" in arithmetic
    assert "agreement: which sentence?\n  *The author" not in lines  # the wrong one is shorter
    assert "  The author whom critics admire write books. -43.00\n  *The author whom" in lines


def test_errors_of_means_are_those_of_the_bootstrap():
    """The closed form against resampling, which it replaces."""
    rng = np.random.default_rng(0)
    task, right = Fake("class", ("accuracy",), labels=("a", "b")), rng.integers(2, size=60)
    examples = [{"label": 1} for _ in right]
    (error,) = uncertainty.standard_errors(task, right.tolist(), examples).values()
    assert error == pytest.approx(right.std(ddof=1) / math.sqrt(60))
    (drawn,) = uncertainty._bootstrap(
        task, ["accuracy"], right.tolist(), examples, uncertainty._units(examples), 800, 0, print
    ).values()
    assert drawn == pytest.approx(error, rel=0.1)


def test_errors_of_other_metrics_are_drawn_and_groups_stay_together():
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=40)
    guess = np.where(rng.random(40) < 0.7, label, 1 - label).tolist()
    task = Fake("class", ("matthews", "accuracy"), labels=("a", "b"))
    examples = [{"label": int(one)} for one in label]
    found = uncertainty.standard_errors(task, guess, examples, 50)
    assert set(found) == {"matthews", "accuracy"} and 0.05 < found["matthews"] < 0.3
    assert uncertainty.standard_errors(task, guess, examples, 50) == found
    assert math.isnan(uncertainty.standard_errors(task, guess, examples, 0)["matthews"])
    twins = [one | {"group": n // 2} for n, one in enumerate(examples)]
    assert [len(unit) for unit in uncertainty._units(twins)] == [2] * 20
    same = [example for example in examples[:20] for _ in (0, 1)]
    copied = [guess[n // 2] for n in range(40)]
    task = Fake("class", ("accuracy",), labels=("a", "b"))
    alone = uncertainty.standard_errors(task, guess[:20], examples[:20])["accuracy"]
    grouped = [one | {"group": n // 2} for n, one in enumerate(same)]
    # Twice the same examples say no more than once.
    assert uncertainty.standard_errors(task, copied, grouped, 400)["accuracy"] == pytest.approx(alone, rel=0.1)


def test_mcnemar_counts_what_only_one_has_right():
    first, second = [True] * 9 + [False] * 3 + [True] * 5, [False] * 9 + [True] * 1 + [False] * 2 + [True] * 5
    one, other, p = uncertainty.mcnemar(first, second)
    assert (one, other) == (9, 1)
    assert p == pytest.approx(2 * sum(math.comb(10, k) for k in (0, 1)) / 2**10)
    assert uncertainty.mcnemar([True, False], [True, False]) == (0, 0, 1.0)
    answers = [Blank(1, 0.0, ()), Blank(2, 0.0, ())]
    assert uncertainty.right(Fake("cloze", ("cloze",)), answers, [{"answer": ""}] * 2).tolist() == [True, False]
    assert uncertainty.right(Fake("regression", ("pearson",)), [1.0], [{"label": 1.0}]) is None


def test_predictions_can_be_written():
    lines = [tables.plain(one) for one in (Ranking((-1.0, -2.0)), Blank(1, -1.0, (("a", 0.5),)), 3, None)]
    assert json.loads(json.dumps(lines))[0] == {"log_probs": [-1.0, -2.0], "best": []}
    assert lines[1]["rank"] == 1 and lines[2:] == [3, None]
