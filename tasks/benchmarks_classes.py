"""Benchmarks of classes, regression and choices: GLUE, SuperGLUE, inference, relations, commonsense.

Wang et al. 2018 (GLUE), Wang et al. 2019 (SuperGLUE), Bowman et al. 2015 (SNLI), Khot et al. 2018 (SciTail), Hendrickx
et al. 2010 (SemEval-2010 task 8), Zhang et al. 2017 (TACRED). The main metric of each is first, as in the papers'
tables.
"""

import functools
import re

from cloze.errors import DataError
from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec
from cloze.tasks.readers import Record

_GLUE_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_SUPER_GLUE_FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
_ENTAILMENT = ("entailment", "neutral", "contradiction")
_YES_NO = ("False", "True")


def _glue(name, fields, labels, metrics, *, rename=None, files=None, splits=None, columns=(), **rest):
    """A task of GLUE.

    Args:
        rename: {column: field}.
        files, splits: {split: file, split of tensorflow-datasets} where they are not called as usual.
        columns: of files without a header, which the test split always has.
    """
    splits = {"train": "train", "validation": "validation", "test": "test"} | (splits or {})
    read = functools.partial(readers.tsv, rename={"index": "idx"} | (rename or {}), skip_short=name == "qqp")
    readers_of = {split: functools.partial(read, columns=() if split == "test" else columns) for split in splits}
    return Spec(
        name=name,
        kind="class" if labels else "regression",
        metrics=metrics,
        fields=fields,
        labels=labels,
        files={split: Files(readers_of[split], (file,)) for split, file in (_GLUE_FILES | (files or {})).items()},
        tfds={split: f"glue/{rest.get('prefix', name)}:{theirs}" for split, theirs in splits.items()},
        **rest,
    )


def _numbered(*labels):
    """The words 0, 1, ... for labels."""
    return {str(number): label for number, label in enumerate(labels)}


def _mnli(name, section):
    return _glue(
        name, ("premise", "hypothesis"), _ENTAILMENT, ("accuracy",), prefix="mnli", same="entailment",
        rename={"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
        files={"validation": f"dev_{section}.tsv", "test": f"test_{section}.tsv"},
        splits={"validation": f"validation_{section}", "test": f"test_{section}"},
    )  # fmt: skip


_SENTENCES = ("sentence1", "sentence2")
GLUE = (
    _glue("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews",),
          columns=("source", "label", "star", "sentence"), words=_numbered("unacceptable", "acceptable")),
    _glue("sst2", ("sentence",), ("negative", "positive"), ("accuracy",), words=_numbered("negative", "positive")),
    _glue("mrpc", _SENTENCES, ("not_equivalent", "equivalent"), ("f1", "accuracy"),
          rename={"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"},
          words=_numbered("not_equivalent", "equivalent"), same="equivalent"),
    _glue("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("f1", "accuracy"),
          rename={"is_duplicate": "label"}, words=_numbered("not_duplicate", "duplicate"),
          same="duplicate"),
    _glue("stsb", _SENTENCES, (), ("spearman", "pearson"), rename={"score": "label"},
          words={"-1.0": ""}, same=4.0),  # what tensorflow-datasets gives where it is kept back
    _mnli("mnli", "matched"),
    _mnli("mnli_mismatched", "mismatched"),
    _glue("qnli", ("question", "sentence"), ("entailment", "not_entailment"), ("accuracy",)),
    _glue("rte", _SENTENCES, ("entailment", "not_entailment"), ("accuracy",)),
    _glue("wnli", _SENTENCES, ("not_entailment", "entailment"), ("accuracy",),
          words=_numbered("not_entailment", "entailment")),
)  # fmt: skip


# --- SuperGLUE ---


def _super_glue(name, kind, metrics, *, rename=None, prefix="", tfds="", flatten_files=None, **rest):
    def read(path):
        for record in readers.json_lines(path, rename=rename):
            yield from flatten_files(record) if flatten_files else (record,)

    data_set = f"super_glue/{tfds or prefix or name}"
    return Spec(
        name=name, kind=kind, metrics=metrics, prefix=prefix,
        files={split: Files(read, (file,)) for split, file in _SUPER_GLUE_FILES.items()},
        tfds={split: f"{data_set}:{split}" for split in _SUPER_GLUE_FILES}, **rest,
    )  # fmt: skip


def _multirc_answers(record):
    passage = record.within("passage")
    for question in passage.each("questions"):
        for answer in question.each("answers"):
            idx = {"paragraph": record["idx"], "question": question["idx"], "answer": answer["idx"]}
            fields = {"paragraph": passage["text"], "question": question["question"], "answer": answer["text"]}
            label = {"label": _YES_NO[bool(answer["label"])]} if "label" in answer else {}
            yield Record(fields | label | {"idx": idx}, record.where)


def _multirc(record):
    idx = record["idx"]
    return {
        "id": "-".join(str(idx[key]) for key in ("paragraph", "question", "answer")),
        "group": "-".join(str(idx[key]) for key in ("paragraph", "question")),
        "text": record["paragraph"],
        "text_b": f"{record['question']} {record['answer']}",
    }


def _record_queries(record):
    passage = record.within("passage")
    text = passage["text"]
    entities = sorted({text[entity["start"] : entity["end"] + 1] for entity in passage.each("entities")})
    for query in record.each("qas"):
        answers = sorted({answer["text"] for answer in query.each("answers")}) if "answers" in query else ()
        idx = {"passage": record["idx"], "query": query["idx"]}
        fields = {"passage": text, "query": query["query"], "entities": entities, "answers": answers}
        yield Record(fields | {"idx": idx}, record.where)


def _record(record):
    """ReCoRD as a question whose answers are the entities' first mentions; each has one, but where it is kept back."""
    passage, answers = record["passage"], record["answers"]
    return {
        "id": f"{record['idx']['passage']}-{record['idx']['query']}",
        "question": record["query"],
        "context": passage,
        "answers": tuple((text, passage.index(text)) for text in answers if text in passage) if len(answers) else None,
    }


def _copa(record):
    question = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}.get(record["question"])
    if not question:
        raise DataError(f"{record.where}: the question is {record['question']!r}, where cause or effect is expected")
    return {"context": f"{record['premise']} {question}", "choices": (record["choice1"], record["choice2"])}


def _wic(record):
    return {"text": f"{record['word']}: {record['sentence1']}", "text_b": record["sentence2"]}


def _wsc_target(record):
    yield Record(
        {key: value for key, value in record.items() if key != "target"} | record.within("target"), record.where
    )


def mark_pronoun(record):
    """The text of a Winograd example with stars around its pronoun: "if *he* can lend".

    Some of the distributed numbers count words otherwise; then the nearest word that is the pronoun is meant.

    Raises:
        DataError: the pronoun is not in the text.
    """
    words, pronoun, index = record["text"].split(" "), record["span2_text"], record["span2_index"]
    candidates = [i for i, word in enumerate(words) if pronoun in re.split(r"[^\w']+", word) or word == pronoun]
    if not candidates:
        raise DataError(f"{record.where}: the pronoun {pronoun!r} is not among the words of the text")
    at = min(candidates, key=lambda i: abs(i - index))
    return " ".join([*words[:at], words[at].replace(pronoun, f"*{pronoun}*", 1), *words[at + 1 :]])


def _wsc(record):
    return {"text": mark_pronoun(record), "text_b": record["span1_text"]}


SUPER_GLUE = (
    _super_glue("boolq", "class", ("accuracy",), fields=("question", "passage"), labels=_YES_NO),
    _super_glue("cb", "class", ("f1_macro", "accuracy"), fields=("premise", "hypothesis"),
                labels=("entailment", "contradiction", "neutral")),
    _super_glue("copa", "choice", ("accuracy",), example=_copa, labels=("choice1", "choice2"),
                written=("choice1", "choice2", "premise", "question"),
                words=_numbered("choice1", "choice2")),
    _super_glue("multirc", "class", ("multirc",), example=_multirc, labels=_YES_NO, flatten_files=_multirc_answers,
                written=("question", "answer", "paragraph")),
    _super_glue("record", "span", ("record",), example=_record, flatten_files=_record_queries),
    _super_glue("super_glue_rte", "class", ("accuracy",), prefix="rte", fields=("premise", "hypothesis"),
                labels=("entailment", "not_entailment")),
    _super_glue("wic", "class", ("accuracy",), example=_wic, labels=_YES_NO,
                written=("sentence1", "sentence2", "word")),
    _super_glue("wsc", "class", ("accuracy",), tfds="wsc.fixed", example=_wsc, labels=_YES_NO,
                flatten_files=_wsc_target),
)  # fmt: skip


# --- Inference and relations ---


def _premises(name, file, tfds, **rest):
    """A data set in SNLI's format; file: with {} for train, dev and test."""
    rename = {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label", "pairID": "id"}
    read = functools.partial(readers.json_lines, rename=rename)
    splits = {"train": "train", "validation": "dev", "test": "test"}
    return Spec(
        name=name, kind="class", metrics=("accuracy",), fields=("premise", "hypothesis"), drop_unlabelled=True,
        files={ours: Files(read, (file.replace("{}", theirs),)) for ours, theirs in splits.items()},
        tfds={split: f"{tfds}:{split}" for split in splits}, **rest,
    )  # fmt: skip


INFERENCE = (
    _premises("snli", "snli_1.0_{}.jsonl", "snli", labels=_ENTAILMENT, same="entailment"),
    _premises("scitail", "scitail_1.0_{}.txt|snli_format/scitail_1.0_{}.txt", "sci_tail",
              labels=("entails", "neutral"), words={"entailment": "entails"}),
)  # fmt: skip

_RELATIONS = (
    "Cause-Effect", "Component-Whole", "Content-Container", "Entity-Destination", "Entity-Origin", "Instrument-Agency",
    "Member-Collection", "Message-Topic", "Product-Producer",
)  # fmt: skip


def _tacred(record):
    """A sentence with <e1> and </e1> around its subject, <e2> and </e2> around its object (Zhang et al. 2017)."""
    words = list(record["token"])
    for mark, role in (("e1", "subj"), ("e2", "obj")):
        words[record[f"{role}_start"]] = f"<{mark}> {words[record[f'{role}_start']]}"
        words[record[f"{role}_end"]] += f" </{mark}>"
    return {"text": " ".join(words)}


RELATIONS = (
    # SemEval has no validation split: the last 800 of its 8,000 training sentences are one
    Spec(name="semeval_2010_task_8", kind="class", metrics=("relation_f1_macro", "accuracy"), fields=("sentence",),
         label="relation", labels=tuple(f"{r}({d})" for r in _RELATIONS for d in ("e1,e2", "e2,e1")) + ("Other",),
         files={"train": Files(functools.partial(readers.semeval, part=slice(None, -800)),
                               ("TRAIN_FILE.TXT|SemEval2010_task8_training/TRAIN_FILE.TXT",)),
                "validation": Files(functools.partial(readers.semeval, part=slice(-800, None)),
                                    ("TRAIN_FILE.TXT|SemEval2010_task8_training/TRAIN_FILE.TXT",)),
                "test": Files(readers.semeval,
                              ("TEST_FILE_FULL.TXT|SemEval2010_task8_testing_keys/TEST_FILE_FULL.TXT",))}),
    Spec(name="tacred", kind="class", metrics=("relation_f1_micro", "accuracy"), example=_tacred, label="relation",
         labels=None,
         files={split: Files(readers.json_list, (f"{file}.json|data/json/{file}.json",))
                for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))}),
)  # fmt: skip


# --- Choices ---


def _letters(record):
    """OpenBookQA's and CommonsenseQA's files: the stem, and its choices in the order of their letters."""
    question = record.within("question")
    choices = [choice["text"] for choice in sorted(question.each("choices"), key=lambda choice: choice["label"])]
    answer = {"answerKey": record["answerKey"]} if "answerKey" in record else {}
    yield Record({"id": record["id"], "stem": question["stem"], "choices": choices} | answer, record.where)


def _stem(record):
    if "choices" in record:
        return {"context": record["stem"], "choices": tuple(record["choices"])}
    question = record.within("question")  # as tensorflow-datasets has them
    return {"context": question["stem"], "choices": tuple(question[f"choice_{letter}"] for letter in "ABCD")}


def _lettered(name, file, tfds, labels, splits):
    def read(path):
        for record in readers.json_lines(path):
            yield from _letters(record)

    files = {split: Files(read, (file.replace("{}", theirs),)) for split, theirs in splits.items()}
    return Spec(
        name=name, kind="choice", metrics=("accuracy",), example=_stem, label="answerKey", labels=labels, files=files,
        tfds={split: f"{tfds}:{split}" for split in splits if tfds},
    )  # fmt: skip


def _race_questions(record):
    """One record a question of an article."""
    options = record["options"]
    if not len(record["questions"]) == len(options) == len(record["answers"]):
        raise DataError(f"{record.where}: as many questions, options and answers are expected")
    for number, question in enumerate(record["questions"]):
        yield Record(
            {"id": f"{record.get('id', record.get('example_id'))}-{number}", "article": record["article"],
             "question": question, "options": options[number], "label": record["answers"][number]}, record.where,
        )  # fmt: skip


def _race(record):
    """A choice is the question with its blank filled, or followed by the option (Radford et al. 2018, 3.3)."""
    question = record["question"]
    fill = (lambda o: question.replace("_", o, 1)) if "_" in question else (lambda o: f"{question} {o}")
    return {"context": record["article"], "choices": tuple(fill(option) for option in record["options"])}


def _race_of(level):
    splits = (("train", "train"), ("validation", "dev"), ("test", "test"))
    return Spec(
        name=f"race_{level}", kind="choice", metrics=("accuracy",), example=_race, flatten=_race_questions,
        labels=("A", "B", "C", "D"),
        files={ours: Files(readers.json_objects, (f"{theirs}/{level}/*.txt",)) for ours, theirs in splits},
        tfds={ours: f"race/{level}:{theirs}" for ours, theirs in splits},
    )  # fmt: skip


def _winogrande(record):
    before, blank, after = record["sentence"].partition("_")
    if not blank:
        raise DataError(f"{record.where}: the sentence has no blank (_)")
    return {
        "context": before.rstrip(),
        "choices": tuple(f"{record[option]}{after}" for option in ("option1", "option2")),
    }


def _story(path):
    for record in readers.comma_separated(path):
        context = " ".join(record[f"InputSentence{n}"] for n in range(1, 5))
        endings = [record[f"RandomFifthSentenceQuiz{n}"] for n in (1, 2)]
        answer = {"label": record["AnswerRightEnding"]} if "AnswerRightEnding" in record else {}
        yield Record({"id": record["InputStoryid"], "context": context, "endings": endings} | answer, record.where)


def _endings(record):
    return {"context": record["context"], "choices": tuple(record["endings"])}


CHOICES = (
    Spec(name="hellaswag", kind="choice", metrics=("accuracy",), example=_endings, labels=("0", "1", "2", "3"),
         files={split: Files(functools.partial(readers.json_lines, rename={"ctx": "context", "ind": "id"}),
                             (f"hellaswag_{file}.jsonl",))
                for split, file in (("train", "train"), ("validation", "val"), ("test", "test"))},
         tfds={split: f"hellaswag:{split}" for split in ("train", "validation", "test")}),
    Spec(name="piqa", kind="choice", metrics=("accuracy",), labels=("0", "1"),
         example=lambda record: {"context": record["goal"], "choices": (record["sol1"], record["sol2"])},
         files={"train": Files(readers.json_lines_with_labels, ("train.jsonl", "train-labels.lst")),
                "validation": Files(readers.json_lines_with_labels,
                                    ("dev.jsonl|valid.jsonl", "dev-labels.lst|valid-labels.lst"))},
         tfds={split: f"piqa:{split}" for split in ("train", "validation")}),
    _lettered("openbookqa", "{}.jsonl|Data/Main/{}.jsonl|{}_complete.jsonl|Data/Additional/{}_complete.jsonl",
              "openbookqa", ("A", "B", "C", "D"), {"train": "train", "validation": "dev", "test": "test"}),
    _lettered("commonsense_qa", "{}_rand_split.jsonl", "", ("A", "B", "C", "D", "E"),
              {"train": "train", "validation": "dev"}),
    _race_of("middle"),
    _race_of("high"),
    Spec(name="winogrande", kind="choice", metrics=("accuracy",), example=_winogrande, labels=("1", "2"),
         files={split: Files(functools.partial(readers.json_lines, rename={"answer": "label", "qID": "id"}), (file,))
                for split, file in (("train", "train_xl.jsonl"), ("validation", "dev.jsonl"), ("test", "test.jsonl"))},
         tfds={"train": "winogrande:train_xl", "validation": "winogrande:validation", "test": "winogrande:test"}),
    Spec(name="story_cloze", kind="choice", metrics=("accuracy",), example=_endings, labels=("1", "2"),
         files={split: Files(_story, (f"cloze_test_{file}__spring2016*.csv",))
                for split, file in (("validation", "val"), ("test", "test"))},
         tfds={split: f"story_cloze/2016:{split}" for split in ("validation", "test")}),
)  # fmt: skip
