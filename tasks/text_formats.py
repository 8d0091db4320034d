"""Any task as text to text, in T5's formats (Raffel et al. 2020, 2.4 and appendix D; the authors' preprocessors).

The name of the task stands in front, then each text behind its name, in the order of the names; labels are words:
"mnli hypothesis: ... premise: ..." -> "entailment". Tasks that T5 has not learned are read the same way.
"""

import functools
import hashlib
import math
import re

import numpy as np

from cloze.errors import ConfigError
from cloze.tasks.base import PROBES, Task
from cloze.tasks.benchmarks import Benchmark
from cloze.tasks.benchmarks_classes import mark_pronoun

FORMAT = 1  # part of the fingerprint: raise it when an example is written otherwise
NO_ANSWER = "unanswerable"  # SQuAD 2.0, which T5 has not learned
NO_LABEL = "<unk>"
_DETERMINERS = frozenset(
    "a an few her his each every many much my our some that the their these this those which whose your".split()
)


class AsText(Task):
    """A task of any kind but tag and lm, read as text.

    An example has, besides what kind "text" has, `example`: the example of the task that it is about. In validation and
    test there is one for each of those. An answer is judged by
    `tasks.metrics.score(as_text.task, [as_text.parse(text, e) for ...], [e["example"] for ...])`.

    Attributes:
        task: the Task that is read as text.

    Raises:
        ConfigError: the task cannot be read as text.
    """

    kind = "text"

    def __init__(self, task):
        if task.kind in ("tag", "lm", *PROBES):
            what = "tags" if task.kind == "tag" else "texts without answers"
            raise ConfigError(
                f"task {task.name} has {what}, which cannot be read as text to text: leave task.kind empty, or leave "
                "it out of the mixture"
            )
        self.task, self.name, self.metrics = task, task.name, task.metrics
        self._spec = task.spec if isinstance(task, Benchmark) else None

    def fingerprint(self):
        return hashlib.sha256(f"text {FORMAT} {self.task.fingerprint()}".encode()).hexdigest()

    def labels(self):
        return ()

    def label_words(self):
        """The words for the labels of classes, in their order; () for other kinds."""
        return self._labels

    def examples(self, split):
        if self._spec:
            for number, record in enumerate(self.task.records(split)):
                example = self.task.finish(record, number, split)
                yield from self._written(example, record, split)
        else:
            for example in self.task.examples(split):
                yield from self._written(example, None, split)

    def parse(self, text, example):
        """What a text answers, in the form that `tasks.metrics.score` takes for the kind of `task`.

        Args:
            text: the answer, str.
            example: of `examples`, which it answers.

        Returns:
            class, choice: the label, int; regression: float; None where the text is no label, which counts as wrong.
            span, text: str.
        """
        text, kind = text.strip(), self.task.kind
        if self.name == "wsc":
            return int(_same_referent(text, example["targets"]))
        if kind == "regression":
            try:
                value = float(text)
            except ValueError:
                return None
            return value if math.isfinite(value) else None
        if kind in ("class", "choice"):
            words = self._words(example["example"])
            return words.index(text) if text in words else None
        return "" if kind == "span" and text == NO_ANSWER else text

    @functools.cached_property
    def _labels(self):
        return self.task.labels()

    def _words(self, example):
        if self.task.kind == "choice":
            return [f"choice{number}" for number in range(1, len(example["choices"]) + 1)]
        return self._labels

    def _written(self, example, record, split):
        """The examples as text that one example becomes."""
        common = {"id": example["id"]} if "id" in example else {}
        if self.name == "wsc":
            if split != "train" or example["label"]:  # what the pronoun does not stand for is not learned
                yield common | {
                    "inputs": f"wsc: {mark_pronoun(record)}",
                    "targets": record["span1_text"],
                    "example": example,
                }
        elif self.name == "record":
            answers = tuple(record["answers"]) or (NO_LABEL,)
            for answer in answers if split == "train" else answers[:1]:
                yield common | {"inputs": _record(record), "targets": answer, "references": answers, "example": example}
        elif self.task.kind == "span":
            yield common | _span(example)
        elif self.task.kind == "text":
            instruction = self._spec.prefix if self._spec else ""
            inputs = {"inputs": instruction + example["inputs"]} if "inputs" in example else {}
            yield common | example | inputs | {"example": example}
        else:
            yield common | {
                "inputs": self._fields(example, record),
                "targets": self._target(example),
                "example": example,
            }

    def _target(self, example):
        if example["label"] is None:
            return NO_LABEL
        if self.task.kind == "regression":  # to the nearest 0.2, in single precision as T5's
            return f"{np.round(np.float32(example['label']) * np.float32(5)) / np.float32(5):.1f}"
        return self._words(example)[example["label"]]

    def _fields(self, example, record):
        """The texts behind their names."""
        fields = self._spec and (self._spec.written or sorted(self._spec.fields))
        if fields:
            texts = {field: record[field] for field in fields}
        elif self.task.kind == "choice":
            texts = {f"choice{number}": choice for number, choice in enumerate(example["choices"], 1)}
            texts["context"] = example["context"]
        elif "text_b" in example:
            texts = {"sentence1": example["text"], "sentence2": example["text_b"]}
        else:
            texts = {"sentence": example["text"]}
        name = (self._spec and self._spec.prefix) or self.name
        written = " ".join([name, *(f"{field}: {text}" for field, text in texts.items())])
        return re.sub("</?b>", "", written.replace("<br>", " ")) if self.name == "multirc" else written


def spaced(text):
    """A text with spaces around all that is not an ASCII letter, digit or underscore, each run of spaces one."""
    return " ".join(re.sub(r"(\W)", r" \1 ", text, flags=re.ASCII).split())


def _span(example):
    """SQuAD: spaced, the first answer is learned; the answers of the example are spaced too, as answers will be."""
    inputs = f"question: {spaced(example['question'])} context: {spaced(example['context'])}"
    if example["answers"] is None:
        return {"inputs": inputs, "targets": NO_LABEL, "example": example}
    answers = tuple((spaced(text), start) for text, start in example["answers"])
    return {
        "inputs": inputs,
        "targets": answers[0][0] if answers else NO_ANSWER,
        "references": tuple(text for text, _ in answers) or (NO_ANSWER,),
        "example": example | {"answers": answers},
    }


def _record(record):
    passage = re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", record["passage"])
    passage = passage.replace("\n@highlight\n", ". ")
    return f"record query: {record['query']} entities: {', '.join(record['entities'])} passage: {passage}"


def _same_referent(prediction, referent):
    """Whether one is named by words of the other, articles and the like aside (T5's evaluation of WSC)."""

    def words(text):
        return {word for word in text.lower().split() if word not in _DETERMINERS}

    if ("'" in prediction) != ("'" in referent):  # Bob is not Bob's hat
        return False
    predicted, expected = words(prediction), words(referent)
    return bool(predicted) and (predicted <= expected or expected <= predicted)
