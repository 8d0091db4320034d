"""A user's own labelled files as a task: `jsonl:class`, `tsv:span` and the like, from the folder `task.files`.

The folder holds train, validation and test with the ending .jsonl or .tsv, those that are read. A line is an example,
with the fields of tasks.base.Task:

    class, regression   text, text_b (pairs), label
    tag                 words, tags: lists; in .tsv, separated by spaces
    span                question, context, answers: a list of {"text": ..., "start": ...}; in .tsv, answer and start,
                        both empty where there is no answer
    choice              context, choices, label (the number of the right choice, from 0); in .tsv, choice0, choice1, ...
    embedding           anchor, positive, and negative or negatives (a list; .jsonl only) where there are any; without
                        positive the anchor is its own (unsupervised SimCSE)
    text                inputs, targets, references (optional, a list); or turns, a list of {"role": ..., "text": ...}
                        (.jsonl only)
    lm                  text

Classes and tags are the words in the training split, sorted. Of test, what is to be predicted may be left out: label,
tags, answers (in .tsv answer and start), targets, the text of a last turn.
"""

import functools
import re

from cloze.errors import DataError
from cloze.tasks import readers
from cloze.tasks.base import SPLITS
from cloze.tasks.benchmarks import Files, Spec
from cloze.tasks.readers import Record

FORMATS = ("jsonl", "tsv")


def _tag_metrics(labels):
    """Of entities, if that is what the tags are."""
    entities = all(label == "O" or label.startswith(("B-", "I-")) for label in labels)
    return ("entity_f1", "accuracy") if entities else ("accuracy", "f1_macro")


METRICS = {
    "class": ("accuracy", "f1_macro"),
    "regression": ("pearson", "spearman"),
    "tag": _tag_metrics,
    "span": ("squad",),
    "choice": ("accuracy",),
    "embedding": ("retrieval",),
    "text": ("rouge", "exact_match"),
    "lm": ("perplexity", "per_unit"),
}


def spec(name):
    """The Spec of FORMAT:KIND; None for other names."""
    form, _, kind = name.partition(":")
    if form not in FORMATS or kind not in METRICS:
        return None
    read = readers.json_lines if form == "jsonl" else functools.partial(readers.tsv, exact=True)
    read_test = functools.partial(_perhaps_unlabelled, read, form == "jsonl", kind)
    return Spec(
        name=name,
        kind=kind,
        metrics=METRICS[kind],
        files={split: Files(read_test if split == "test" else read, (f"{split}.{form}",)) for split in SPLITS},
        labels=None if kind in ("class", "tag") else (),
        example=functools.partial(_EXAMPLES[kind], form == "jsonl"),
        units="words" if kind == "lm" else "",
    )


def _perhaps_unlabelled(read, is_json, kind, path):
    """The records of a split in which what is to be predicted, where it is left out, is None."""
    fields = {"tag": ("tags",), "span": ("answers",) if is_json else ("answer", "start"), "text": ("targets",)}
    for record in read(path):
        yield Record(dict.fromkeys(fields.get(kind, ())) | record, record.where)


def _texts(is_json, record):
    pair = {"text_b": _text(record, "text_b")} if "text_b" in record else {}
    return {"text": _text(record, "text")} | pair


def _tag(is_json, record):
    def strings(field):
        return _strings(record, field) if is_json else readers.words(record[field])

    return {"words": strings("words"), "tags": None if record["tags"] is None else strings("tags")}


def _span(is_json, record):
    texts = {"question": _text(record, "question"), "context": _text(record, "context")}
    if record["answers" if is_json else "answer"] is None:
        return texts | {"answers": None}
    if is_json:
        answers = [(_text(answer, "text"), answer["start"]) for answer in record.each("answers")]
    else:
        answers = [(record["answer"], record["start"])] if record["answer"] else []
    if not all(_is_place(start) for _, start in answers):
        raise DataError(
            f"{record.where}: an answer begins at {[start for _, start in answers]}, where the number of its first "
            "character in the context is expected"
        )
    return texts | {"answers": tuple((text, int(start)) for text, start in answers)}


def _is_place(start):
    return type(start) is int or (isinstance(start, str) and re.fullmatch("[0-9]+", start) is not None)


def _choice(is_json, record):
    if is_json:
        choices = tuple(_strings(record, "choices"))
    else:
        choices = tuple(record[f"choice{n}"] for n in range(sum(key.startswith("choice") for key in record)))
        choices = choices or (record["choice0"],)  # which says that there is none
    return {"context": _text(record, "context"), "choices": choices}


def _compared(is_json, record):
    anchor = _text(record, "anchor")
    positive = _text(record, "positive") if "positive" in record else anchor
    negatives = [_text(record, "negative")] if "negative" in record else []
    if is_json and "negatives" in record:
        negatives += _strings(record, "negatives")
    return {"texts": (anchor, positive, *negatives)}


def _sides(is_json, record):
    if "turns" in record:
        turns = record.each("turns")
        unanswered = bool(turns) and turns[-1].get("text") is None
        complete = turns[: len(turns) - unanswered]
        last = ((_text(turns[-1], "role"), None),) if unanswered else ()
        return {"turns": (*((_text(turn, "role"), _text(turn, "text")) for turn in complete), *last)}
    references = {"references": tuple(_strings(record, "references"))} if "references" in record else {}
    targets = None if record["targets"] is None else _text(record, "targets")
    return {"inputs": _text(record, "inputs"), "targets": targets} | references


def _document(is_json, record):
    return {"text": _text(record, "text")}


_EXAMPLES = {
    "class": _texts,
    "regression": _texts,
    "tag": _tag,
    "span": _span,
    "choice": _choice,
    "embedding": _compared,
    "text": _sides,
    "lm": _document,
}


def _text(record, field):
    """A field that must hold text."""
    if not isinstance(record[field], str):
        raise DataError(
            f"{record.where}: field {field!r} holds a {type(record[field]).__name__}, where text is expected"
        )
    return record[field]


def _strings(record, field):
    values = record[field]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DataError(f'{record.where}: field {field!r} must hold a list of strings, such as ["a", "b"]')
    return values
