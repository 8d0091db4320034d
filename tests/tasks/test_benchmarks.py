"""Every benchmark read from its own files and from tensorflow-datasets, and what is refused."""

import ml_collections
import numpy as np
import pytest

from cloze import tasks
from cloze.configs import base
from cloze.data.examples import Examples
from cloze.data.rows import Windows
from cloze.errors import ConfigError, DataError
from cloze.tasks import metrics, readers
from cloze.tasks.base import KINDS, PROBES
from cloze.tasks.text_scores import Blank
from tests.tasks import prepared
from tests.tasks.distributed import CONLL, DISTRIBUTED, MULTIRC, SQUAD_EXAMPLES, WIC
from tests.tasks.prepared import table, write


def examples(name, split, files):
    return list(tasks.get(name, files=files).examples(split))


# --- Files as they are distributed ---


def test_every_benchmark_is_tested():
    assert set(DISTRIBUTED) == set(tasks.BENCHMARKS)


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_examples_of_distributed_files(name, tmp_path):
    split, files, expected = DISTRIBUTED[name]
    task = tasks.get(name, files=write(tmp_path, files))
    assert list(task.examples(split)) == expected
    assert task.kind in (*KINDS, *PROBES) and set(task.metrics) <= set(metrics.METRICS) and task.name == name
    labels = task.labels()
    assert bool(labels) == (task.kind in ("class", "tag")) and len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_a_perfect_answer_has_a_perfect_score(name, tmp_path):
    split, files, expected = DISTRIBUTED[name]
    task = tasks.get(name, files=write(tmp_path, files))
    if expected[0].get("label", 0) is None or name == "stsb" or task.kind == "lm":  # nothing known, or to correlate
        return
    answers = {
        "tag": lambda e: [task.labels()[tag] for tag in e["tags"]],
        "span": lambda e: e["answers"][0][0] if e["answers"] else "",
        "text": lambda e: e["targets"],
        "ranking": lambda e: metrics.Ranking(tuple(-float(n != e["label"]) for n in range(len(e["texts"])))),
        "cloze": lambda e: Blank(1, 0.0, ()),
    }.get(task.kind, lambda e: e["label"])
    scores = metrics.score(task, [answers(example) for example in expected], expected)
    if len({str(answers(example)) for example in expected}) > 1:  # F1 and correlation need both classes
        assert all(value == pytest.approx(1) or value == pytest.approx(100) for value in scores.values()), scores


@pytest.mark.parametrize("name, split", [("wikitext2", "test"), ("ptb", "validation")])
def test_words_of_a_language_model_are_those_of_the_file_and_its_line_ends(name, split, tmp_path):
    _, files, _ = DISTRIBUTED[name]
    task = tasks.get(name, files=write(tmp_path, files))
    ((_, content),) = files.items()
    texts = [example["text"] for example in task.examples(split)]
    assert "".join(texts) == content
    words = sum(len(line.split()) + 1 for line in content.splitlines())  # an end of sentence each, blank lines too
    assert sum(len(metrics.units(text, task.units)) for text in texts) == words


def test_the_parts_of_text8_are_the_whole_file_at_ninety_five_and_five_percent(tmp_path):
    content = "".join(chr(97 + i % 26) for i in range(1000))
    task = tasks.get("text8", files=write(tmp_path, {"text8": content}))
    parts = [example["text"] for split in ("train", "validation", "test") for example in task.examples(split)]
    assert [len(part) for part in parts] == [900, 50, 50] and "".join(parts) == content


def test_semeval_holds_out_the_last_800_of_its_training_sentences(tmp_path):
    text = "".join(f'{n}\t"A <e1>a</e1> <e2>b</e2>."\nOther\nComment:\n\n' for n in range(803))
    task = tasks.get("semeval_2010_task_8", files=write(tmp_path, {"TRAIN_FILE.TXT": text}))
    ids = {split: [example["id"] for example in task.examples(split)] for split in ("train", "validation")}
    assert ids["train"] == ["0", "1", "2"] and ids["validation"] == [str(n) for n in range(3, 803)]


# --- tensorflow-datasets ---


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A few of the data sets, with the fields that the library's builders give them."""
    import tensorflow_datasets as tfds

    features, root = tfds.features, tmp_path_factory.mktemp("tfds")
    text, texts, number = features.Text(), features.Sequence(features.Text()), np.int32

    def names(*words):
        return features.ClassLabel(names=list(words))

    def add(name, version, fields, **splits):
        prepared.data_set(root, name, version, fields, splits)

    answers = features.Sequence({"text": features.Text(), "answer_start": number})
    spans = [
        {key: example[key] for key in ("id", "question", "context")}
        | {"answers": [{"text": text, "answer_start": start} for text, start in example["answers"]]}
        | {"title": "t", "is_impossible": not example["answers"], "plausible_answers": []}
        for example in SQUAD_EXAMPLES
    ]
    sentences = {
        "tokens": ["EU", "rejects", "German"],
        "ner": ["B-ORG", "O", "B-MISC"],
        "pos": ["NNP", "VBZ", "JJ"],
        "chunks": ["O"] * 3,
    }
    passage = MULTIRC["passage"]["text"]
    ner = names("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
    add(
        "glue/cola",
        "2.0.0",
        {"sentence": text, "label": names("unacceptable", "acceptable"), "idx": number},
        train=[{"sentence": "A \u00e9.", "label": 1, "idx": 0}],
        test=[{"sentence": "B.", "label": -1, "idx": 3}],
    )
    add(
        "glue/mnli",
        "2.0.0",
        {"premise": text, "hypothesis": text, "idx": number, "label": names("entailment", "neutral", "contradiction")},
        validation_mismatched=[{"premise": "A.", "hypothesis": "B.", "label": 2, "idx": 5}],
    )
    add(
        "glue/stsb",
        "2.0.0",
        {"sentence1": text, "sentence2": text, "label": np.float32, "idx": number},
        train=[{"sentence1": "A.", "sentence2": "B.", "label": 2.5, "idx": 5}],
        test=[{"sentence1": "A.", "sentence2": "B.", "label": -1.0, "idx": 6}],
    )
    add(
        "super_glue/multirc",
        "1.0.2",
        {
            "paragraph": text,
            "question": text,
            "answer": text,
            "label": names("False", "True"),
            "idx": features.FeaturesDict({"paragraph": number, "question": number, "answer": number}),
        },
        train=[
            {
                "paragraph": passage,
                "question": "Who ate?",
                "answer": name,
                "label": label,
                "idx": {"paragraph": 3, "question": 7, "answer": n},
            }
            for n, name, label in ((20, "Ann", 1), (21, "Bob", 0))
        ],
    )
    add(
        "super_glue/wic",
        "1.0.2",
        {
            **{key: text for key in ("word", "sentence1", "sentence2")},
            "label": names("False", "True"),
            **{key: number for key in ("start1", "start2", "end1", "end2", "idx")},
        },
        train=[WIC | {"label": 0}],
    )
    add(
        "squad/v2.0",
        "3.0.0",
        {
            "id": np.str_,
            "title": text,
            "context": text,
            "question": text,
            "answers": answers,
            "is_impossible": np.bool_,
            "plausible_answers": answers,
        },
        validation=spans,
    )
    add(
        "conll2003/conll2003",
        "1.0.0",
        {
            "tokens": texts,
            "ner": features.Sequence(ner),
            "pos": features.Sequence(names(*tasks.get("conll2003_pos").labels())),
            "chunks": features.Sequence(names("O", "B-NP", "I-NP")),
        },
        train=[sentences],
    )
    add(
        "sci_tail",
        "1.0.0",
        {"premise": text, "hypothesis": text, "label": names("entails", "neutral")},
        train=[{"premise": "A man.", "hypothesis": "A tall man.", "label": 0}],
    )
    add(
        "race/high",
        "2.0.0",
        {
            "article": text,
            "questions": texts,
            "answers": texts,
            "options": features.Sequence(texts),
            "example_id": text,
        },
        dev=[
            {
                "article": "Ann ate.",
                "questions": ["_ ate.", "Who?"],
                "answers": ["A", "D"],
                "example_id": "high1.txt",
                "options": [["Ann", "Bob", "Eve", "Tom"], ["Bob", "Eve", "Tom", "Ann"]],
            }
        ],
    )
    add(
        "openbookqa",
        "0.1.0",
        {
            "question": features.FeaturesDict({key: text for key in ("stem", *(f"choice_{c}" for c in "ABCD"))}),
            "answerKey": names("A", "B", "C", "D"),
        },
        train=[{"question": {"stem": "Sun", **{f"choice_{c}": c for c in "ABCD"}}, "answerKey": "C"}],
    )
    add("wmt16_translate/ro-en", "1.0.0", {"ro": text, "en": text}, test=[{"ro": "O cas\u0103.", "en": "One house."}])
    add(
        "web_questions",
        "1.0.0",
        {"url": text, "question": text, "answers": texts},
        test=[{"url": "u", "question": "who sang?", "answers": ["Ann Lee", "Bob"]}],
    )
    add("lambada", "1.0.0", {"passage": text}, test=[{"passage": "he said hello\n"}])
    return str(root)  # fmt: skip


@pytest.mark.parametrize("name, split, expected", [
    ("cola", "train", [{"id": "0", "text": "A \u00e9.", "label": 1}]),
    ("cola", "test", [{"id": "3", "text": "B.", "label": None}]),
    ("mnli_mismatched", "validation", [{"id": "5", "text": "A.", "text_b": "B.", "label": 2}]),
    ("stsb", "train", [{"id": "5", "text": "A.", "text_b": "B.", "label": 2.5}]),
    ("stsb", "test", [{"id": "6", "text": "A.", "text_b": "B.", "label": None}]),
    ("multirc", "train", DISTRIBUTED["multirc"][2]),
    ("wic", "train", DISTRIBUTED["wic"][2]),
    ("squad_v2", "validation", SQUAD_EXAMPLES),
    ("conll2003", "train", [{"id": "0", "words": ["EU", "rejects", "German"], "tags": [3, 0, 7]}]),
    ("scitail", "train", [{"id": "0", "text": "A man.", "text_b": "A tall man.", "label": 0}]),
    ("race_high", "validation", DISTRIBUTED["race_high"][2]),
    ("openbookqa", "train", [{"id": "0", "context": "Sun", "choices": tuple("ABCD"), "label": 2}]),
    ("wmt16_ro_en", "test", [{"id": "0", "inputs": "O cas\u0103.", "targets": "One house."}]),
    ("web_questions", "test", [{**e, "id": "0"} for e in DISTRIBUTED["web_questions"][2]]),
    ("lambada", "test", [{"id": "0", "text": "he said hello"}]),
])  # fmt: skip
def test_examples_of_prepared_data_sets(tfds_dir, name, split, expected):
    assert list(tasks.get(name, tfds_dir=tfds_dir).examples(split)) == expected


def test_what_is_not_prepared_says_how_to_prepare_it_also_where_the_library_needs_tensorflow(tmp_path):
    for name, data_set in (("snli", "snli"), ("wsc", "super_glue/wsc.fixed"), ("xsum", "xsum")):
        task = tasks.get(name, tfds_dir=str(tmp_path))
        for use in (task.fingerprint, lambda task=task: list(task.examples("train"))):
            with pytest.raises(DataError, match=f"not prepared.*tfds build {data_set}"):
                use()


def test_names_of_tensorflow_datasets_are_ones_it_knows():
    import importlib

    import tensorflow_datasets as tfds

    for package in ("text", "question_answering", "summarization", "translate"):
        importlib.import_module(f"tensorflow_datasets.{package}")
    known = set(tfds.list_builders(with_community_datasets=False))
    used = {data_set.partition(":")[0] for spec in tasks.BENCHMARKS.values() for data_set in spec.tfds.values()}
    assert len(used) > 30 and {name.partition("/")[0] for name in used} <= known


# --- Fingerprints ---


def test_the_fingerprint_follows_the_files_and_the_task(tmp_path, tfds_dir):
    rows = table(("index", "sentence1", "sentence2", "label"), ("3", "A.", "B.", "entailment"))
    files = write(tmp_path, {"train.tsv": rows})
    seen = [tasks.get("rte", files=files).fingerprint(), tasks.get("qnli", files=files).fingerprint()]
    assert tasks.get("rte", files=files).fingerprint() == seen[0]
    write(tmp_path, {"train.tsv": rows + rows})
    seen.append(tasks.get("rte", files=files).fingerprint())
    write(tmp_path, {"dev.tsv": rows})
    seen.append(tasks.get("rte", files=files).fingerprint())
    seen += [tasks.get(name, tfds_dir=tfds_dir).fingerprint() for name in ("cola", "stsb")]
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_is_of_what_files_hold_and_not_of_where_they_are(tmp_path):
    texts = [table(("text", "label"), ("a", "1"), ("b" * 3_000_000, "0"), (middle, "1"), ("d" * 3_000_000, "0"))
             for middle in "cx"]  # fmt: skip
    first, moved, edited = (
        tasks.get("tsv:class", files=write(tmp_path / place, {"train.tsv": text})).fingerprint()
        for place, text in (("here", texts[0]), ("there", texts[0]), ("elsewhere", texts[1]))
    )
    assert first == moved != edited


def test_answers_that_are_kept_back_are_not_known(tmp_path):
    queries = [{"idx": 4, "query": "@placeholder is a city."}, {"idx": 5, "query": "@placeholder?", "answers": []}]
    record = {"idx": 1, "passage": {"text": "Live in Rome.", "entities": [{"start": 8, "end": 11}]}, "qas": queries}
    task = tasks.get("record", files=write(tmp_path, {"test.jsonl": [record]}))
    found = list(task.examples("test"))
    assert [example["answers"] for example in found] == [None, None]
    with pytest.raises(DataError, match="example 0 of the split has no label"):
        metrics.score(task, ["", ""], found)
    assert [example["targets"] for example in tasks.AsText(task).examples("test")] == ["<unk>"] * 2


# --- What is refused ---

RTE = ("index", "sentence1", "sentence2", "label")


@pytest.mark.parametrize("name, split, files, message", [
    ("rte", "train", {"train.tsv": table(RTE, ("3", "A.", "B.", "yes"))},
     r"train.tsv:2: unknown label 'yes'.*entailment, not_entailment"),
    ("rte", "train", {"train.tsv": table(("index", "sentence1", "sentenc2", "label"), ("3", "A.", "B.", "entailment"))},
     r"train.tsv:2: no field 'sentence2'; did you mean 'sentenc2'\? the fields there are idx, sentence1, sentenc2, la"),
    ("rte", "train", {"train.tsv": table(RTE, ("3", "A."))}, "train.tsv:2: 2 columns, where 4 are expected"),
    ("rte", "train", {"train.tsv": table(("index", "sentence1", "sentence2"), ("3", "A.", "B."))}, "no field 'label'"),
    ("rte", "train", {"train.tsv": table(RTE)}, "the train split of rte is empty: .*train.tsv"),
    ("rte", "validation", {"train.tsv": ""},
     "holds no dev.tsv, which the validation split of rte.*or leave task.files"),
    ("stsb", "train", {"train.tsv": table(("sentence1", "sentence2", "score"), ("A", "B", "high"))},
     "'high' is not a num"),
    ("boolq", "train", {"train.jsonl": '{"question": '}, "train.jsonl:1: not valid JSON"),
    ("boolq", "train", {"train.jsonl": "[1]"}, "train.jsonl:1 holds a list, where an object is expected"),
    ("multirc", "train", {"train.jsonl": [{"idx": 1, "passage": "text"}]}, "field 'passage' holds a str"),
    ("squad", "train", {"train-v1.1.json": '{"data": 3}'}, "field 'data' holds a int, where a list"),
    ("squad", "test", {}, "squad has no test split in files; there are train, validation"),
    ("conll2003", "train", {"train.txt": CONLL.replace("rejects VBZ", "rejects")}, "train.txt:4: 3 columns, where 4"),
    ("universal_dependencies", "train", {"en-ud-train.conllu": "1\tdo\n"}, "conllu:1: 2 columns, where 10"),
    ("xsum", "train", {"train.source": "a\nb\n", "train.target": "a\n"}, "train.target ends before line 2"),
    ("semeval_2010_task_8", "test", {"TEST_FILE_FULL.TXT": "Other\n"},
     "TEST_FILE_FULL.TXT:1: expected a line with a num"),
    ("race_high", "train", {"train/high/1.txt": '{"article": "", "questions": ["q"], "options": [], "answers": []}'},
     "as many questions"),
    ("winogrande", "train", {"train_xl.jsonl": [{"sentence": "a", "option1": "", "option2": "", "answer": "1"}]},
     "has no blank"),
    ("copa", "train", {"train.jsonl": [{"question": "why"}]}, "the question is 'why'"),
    ("wsc", "train", {"train.jsonl": [{"text": "a b", "target": {"span2_text": "he", "span2_index": 0}}]},
     "'he' is not among the words"),
    ("jsonl:tag", "train", {"train.jsonl": [{"words": ["a", "b"], "tags": ["x"]}, {"words": ["a"], "tags": ["y"]}]},
     "jsonl:1: 2 words and 1 tags"),
    ("jsonl:tag", "train", {"train.jsonl": [{"words": "a b", "tags": ["x"]}]}, "'words' must hold a list of strings"),
    ("jsonl:class", "train", {"train.jsonl": [{"text": 3, "label": "a"}, {"text": "b", "label": "b"}]},
     "'text' holds a int"),
    ("jsonl:class", "train", {"train.jsonl": [{"text": "a", "label": "a"}]}, "has 1 different labels"),
    ("jsonl:class", "train", {"train.jsonl": '{"text": "a", "label": "a"}\n{"text": "b", "label": NaN}\n'},
     "train.jsonl:2: the label nan is no word"),
    ("jsonl:class", "train", {"train.jsonl": '{"text": "a", "label": "a"}\n{"text": "b", "label": ["a"]}\n'},
     r"train.jsonl:2: the label \['a'\] is no word"),
    ("jsonl:class", "train", {"train.jsonl": [{"text": "a", "label": {"x": 1}}]}, "jsonl:1: the label .* no word"),
    ("jsonl:class", "train", {"train.jsonl": [{"text": "a", "label": None}]}, "the label None is no word"),
    ("boolq", "train", {"train.jsonl": [{"question": "q", "passage": "p", "label": ["true"]}]}, "is no word"),
    ("jsonl:regression", "train", {"train.jsonl": '{"text": "a", "label": NaN}'}, "the label nan is not a number"),
    ("jsonl:regression", "train", {"train.jsonl": '{"text": "a", "label": "inf"}'}, "the label 'inf' is not a number"),
    ("jsonl:regression", "train", {"train.jsonl": '{"text": "a", "label": [1]}'}, r"the label \[1\] is not a number"),
    ("jsonl:choice", "train", {"train.jsonl": '{"context": "c", "choices": ["a", "b"], "label": [0]}'}, "is no word"),
    ("jsonl:span", "train",
     {"train.jsonl": [{"question": "q", "context": "c", "answers": [{"text": "c", "start": 0.7}]}]}, "begins at"),
    ("jsonl:lm", "train", {"train.jsonl": '{"text": ' + 100_000 * "[" }, "jsonl:1: .*nested too deeply"),
    ("boolq", "train", {"train.jsonl": [{"question": 7, "passage": "a", "label": True}]}, "jsonl:1: text is 7, where"),
    ("jsonl:choice", "train", {"train.jsonl": [{"context": "c", "choices": ["a"], "label": 1}]}, "unknown label '1'"),
    ("tsv:choice", "train", {"train.tsv": table(("context", "label"), ("c", "1"))}, "no field 'choice0'"),
    ("tsv:class", "train", {"train.tsv": table(("label", "text"), ("yes", "a"), ("no", "b", "more"))},
     "train.tsv:3: 3 columns, where 2 are expected"),
    ("tsv:span", "train", {"train.tsv": table(("question", "context", "answer", "start"), ("q", "c", "c", "x"))},
     r"an answer begins at \['x'\]"),
])  # fmt: skip
def test_wrong_files_are_named_with_the_line(tmp_path, name, split, files, message):
    with pytest.raises(DataError, match=message):
        examples(name, split, write(tmp_path, files))


def test_halves_of_characters_are_replaced(tmp_path):
    lines = r'{"text": "a \ud83d b \ud83d\ude00", "label": "\udc00"}' + "\n" + '{"text": "c", "label": "x"}'
    task = tasks.get("jsonl:class", files=write(tmp_path, {"train.jsonl": lines}))
    assert next(iter(task.examples("train")))["text"] == "a \ufffd b \U0001f600"
    assert task.labels() == ("x", "\ufffd")


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\x0b"])
def test_only_spaces_and_tabs_separate_words_and_columns(tmp_path, space):
    line = {"words": f"a{space}b  c", "tags": "O B-x"}
    (example,) = examples("tsv:tag", "train", write(tmp_path, {"train.tsv": table(list(line), list(line.values()))}))
    assert example["words"] == [f"a{space}b", "c"]
    (tmp_path / "columns").write_text(f"a{space}b \tN  B-NP O\n", encoding="utf-8")
    (record,) = readers.conll(tmp_path / "columns", columns=("words", "pos", "chunk", "tags"))
    assert record == {"words": [f"a{space}b"], "pos": ["N"], "chunk": ["B-NP"], "tags": ["O"]}


def test_tables_with_commas_are_refused_with_file_and_line(tmp_path):
    for name, content, message in (
        ("latin", "a,b\n\u00e9,1\n".encode("latin-1"), "latin:2 is not UTF-8"),
        ("huge", b"a,b\n1,2\n" + 200_000 * b"x", "huge:3: field larger than field limit .131072."),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(readers.comma_separated(tmp_path / name))
    with pytest.raises(DataError, match="nowhere cannot be read"):
        list(readers.comma_separated(tmp_path / "nowhere"))


def test_files_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"index\tsentence\tlabel\n0\t\xff\t1\n")
    with pytest.raises(DataError, match="train.tsv:2 is not UTF-8"):
        examples("sst2", "train", str(tmp_path))


@pytest.mark.parametrize("name, files, message", [
    ("sst", "", "did you mean 'sst2'"),
    ("wikitext2", "", "task wikitext2 reads files that tensorflow-datasets does not have.*wiki.train.tokens"),
    ("jsonl:class", "", "reads your own files: set task.files to the folder with train.jsonl"),
    ("jsonl:klass", "x", "unknown task.name='jsonl:klass'"),
    ("package", "x", "reads no files"),
])  # fmt: skip
def test_names_that_cannot_be_read(name, files, message):
    with pytest.raises(ConfigError, match=message):
        tasks.get(name, files=files)


# --- task.name of a config ---


def read_by(**task):
    config = ml_collections.ConfigDict(base.get_base())
    config.task.update(task)
    return tasks.read_by(config, Examples(length=8, layout=None))


def test_text_has_no_tasks():
    assert tasks.read_by(base.get_base(), Windows(length=8)) == ()


def test_one_task_is_read_as_it_is_or_as_text():
    (task,) = read_by(name="sst2", kind="class")
    assert task.kind == "class"
    (task,) = read_by(name="sst2", kind="text")
    assert isinstance(task, tasks.AsText) and task.kind == "text"
    for settings in (dict(), dict(kind="text"), dict(instructions=True)):
        (task,) = read_by(name="xsum", **settings)
        assert not isinstance(task, tasks.AsText)
    (task,) = read_by(name="xsum", kind="text", instructions=True)
    assert isinstance(task, tasks.AsText)


def test_mixtures_stand_for_their_tasks_and_each_has_a_folder(tmp_path):
    found = read_by(name="glue,squad", files=str(tmp_path))
    assert [task.name for task in found] == ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "squad"]
    assert all(isinstance(task, tasks.AsText) for task in found)
    with pytest.raises(DataError, match=f"{tmp_path}/squad"):
        list(found[-1].examples("train"))
    assert len(read_by(name="super_glue")) == 8


@pytest.mark.parametrize("task, message", [
    (dict(name=""), "set task.name to one of"),
    (dict(name="glue,sst2"), "names sst2 twice"),
    (dict(name="sst2,mnli", kind="class"), "set task.kind=text"),
    (dict(name="sst2", kind="tag"), "is of kind class and cannot be read as task.kind=tag.*or write text"),
    (dict(name="conll2003", kind="text"), "has tags, which cannot be read as text to text"),
    (dict(name="sst2,ptb", files="x"), "has texts without answers"),
])  # fmt: skip
def test_tasks_that_do_not_fit_are_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        read_by(**task)
