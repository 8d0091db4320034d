"""Tasks made of what every installation holds: docstrings of the embedded corpus (data/pydocs.py).

Which split a docstring's examples are in is decided by its whole text, by the rule of corpora: pretraining on pydocs
with data.validation_share of 0.1 or more has seen none of validation and test. An example is made of docstrings of its
own split only, and one whose text also stands in an earlier split (train, then validation) is left out.
"""

import abc
import collections
import hashlib
import re

from cloze.data import pydocs, sentences
from cloze.data.corpus_files import is_held_out
from cloze.errors import DataError
from cloze.tasks import docstrings
from cloze.tasks.base import SPLITS, Task

FORMAT = 2  # part of the fingerprints: raise it when other examples are made
TEST_SHARE, HELD_OUT_SHARE = 0.05, 0.1  # of the docstrings: test, and validation with test

PACKAGES = 10  # package: labels
HOME = ("numpy", "python", "scipy")  # definition: packages that are learned from
SUMMARY_WORDS, SUMMARY_CHARACTERS = 3, 200  # summary: least and most
BODY_CHARACTERS = 80  # summary: least; shorter bodies say nothing of their summaries
CODE_WORDS = 48  # token_kinds: an example is whole statements up to so many words; longer ones are left out
CONTEXT_CHARACTERS = 1500  # section_answer: docstrings are cut at a line's end
ANSWER_CHARACTERS = 100  # section_answer: most
QUESTIONS = 2  # section_answer: questions with an answer, of a docstring, at most


class Embedded(Task):
    """What the embedded tasks share: the splits of the corpus."""

    def fingerprint(self):
        return hashlib.sha256(f"{self.name} {FORMAT} {pydocs.fingerprint()}".encode()).hexdigest()

    def labels(self):
        return ()

    def examples(self, split):
        if split not in SPLITS:
            raise DataError(f"task {self.name} has no split {split!r}: it has {', '.join(SPLITS)}")
        documents, earlier = documents_by_split(), set()
        for name in SPLITS[: SPLITS.index(split)]:
            earlier.update(_folded(self.read(example)) for example in self.make(documents[name]))
        for example in self.make(documents[split]):
            if _folded(self.read(example)) not in earlier:
                yield example

    @abc.abstractmethod
    def make(self, documents):
        """Yields examples of the documents of one split, in a fixed order."""

    @abc.abstractmethod
    def read(self, example):
        """The text of an example that must not stand in two splits."""


class Package(Embedded):
    """Which package a docstring belongs to, among the ten that have the most of them."""

    name, kind, metrics = "package", "class", ("accuracy", "f1_macro")

    def labels(self):
        """Import names of packages, the one with the most docstrings first."""
        counts = pydocs.counts()
        return tuple(sorted(counts, key=lambda package: (-counts[package], package))[:PACKAGES])

    def make(self, documents):
        numbers = {package: number for number, package in enumerate(self.labels())}
        for document in documents:
            if document.package in numbers:
                yield {"text": document.text, "label": numbers[document.package]}

    def read(self, example):
        return example["text"]


class SummaryMatch(Embedded):
    """Whether a summary is that of a docstring's body.

    Each body comes with its own summary and with that of another docstring, of the same package; so does each summary
    with its own body and with another. Neither alone says anything of the label.
    """

    name, kind, metrics, same = "summary_match", "class", ("accuracy", "f1"), "same"

    def labels(self):
        return ("other", "same")

    def make(self, documents):
        packages, seen = collections.defaultdict(list), set()
        for document, summary, body in _summaries(documents):
            # a summary that two bodies have, or a body that has two summaries, would belong to more than its own
            if _folded(summary) not in seen and _folded(body) not in seen:
                packages[document.package].append((summary, body))
                seen |= {_folded(summary), _folded(body)}
        for package in sorted(packages):
            pairs = sorted(packages[package], key=lambda pair: _draw("match", pair[1]))
            others = pairs[1:] + pairs[:1]
            for (summary, body), (other, _) in zip(pairs, others, strict=True):
                if len(pairs) > 1:
                    yield {"text": summary, "text_b": body, "label": 1}
                    yield {"text": other, "text_b": body, "label": 0}

    def read(self, example):
        return example["text_b"]


class Definition(Embedded):
    """Whether a docstring is of a class or of something else, learned on some packages and tested on all others.

    Training and validation examples are of HOME, test examples of other packages, whose authors write docstrings in
    another layout: what differs between the two scores is a shift of the domain. Of a package there are as many
    examples of one label as of the other.
    """

    name, kind, metrics = "definition", "class", ("accuracy", "f1")

    def labels(self):
        return ("other", "class")

    def examples(self, split):
        for example in super().examples(split):
            if (example["package"] in HOME) == (split != "test"):
                yield {key: value for key, value in example.items() if key != "package"}

    def make(self, documents):
        packages = collections.defaultdict(lambda: ([], []))
        for document in documents:
            packages[document.package][document.name.rpartition(".")[2][:1].isupper()].append(document.text)
        for package, kinds in sorted(packages.items()):
            count = min(map(len, kinds))
            for label, texts in enumerate(kinds):
                for text in sorted(texts, key=lambda text: _draw("definition", text))[:count]:
                    yield {"text": text, "label": label, "package": package}

    def read(self, example):
        return example["text"]


class Documentation(Embedded):
    """The corpus as plain text: its test split is what pretraining with a validation share of 0.1 has not read."""

    name, kind, metrics, units = "documentation", "lm", ("perplexity", "per_unit"), "words"

    def labels(self):
        return ()

    def make(self, documents):
        for document in documents:
            yield {"text": document.text}

    def read(self, example):
        return example["text"]


class Summary(Embedded):
    """The summary of a docstring, from the rest of it."""

    name, kind, metrics = "summary", "text", ("rouge",)

    def make(self, documents):
        for _, summary, body in _summaries(documents):
            if _folded(summary).rstrip(".") not in _folded(body):  # it would only have to be copied
                yield {"inputs": body, "targets": summary}

    def read(self, example):
        return example["inputs"]


class TokenKinds(Embedded):
    """What each word is in the code that docstrings show."""

    name, kind, metrics = "token_kinds", "tag", ("accuracy", "f1_macro")

    def labels(self):
        return docstrings.CODE_KINDS

    def make(self, documents):
        numbers, seen = {kind: number for number, kind in enumerate(docstrings.CODE_KINDS)}, set()
        for document in documents:
            for source in docstrings.code(document.text):
                for piece in _pieces(source):
                    words = [word for word, _ in piece]
                    if tuple(words) not in seen:
                        seen.add(tuple(words))
                        yield {"words": words, "tags": [numbers[kind] for _, kind in piece]}

    def read(self, example):
        return " ".join(example["words"])


class SectionAnswer(Embedded):
    """Where a docstring says what a parameter is, or of which type; or that it does not.

    Questions without an answer are those of other docstrings, of the same package, about a name that this one does
    not mention.
    """

    name, kind, metrics = "section_answer", "span", ("squad",)

    def make(self, documents):
        packages = collections.defaultdict(dict)
        for document in documents:
            context = _context(document.text)
            if questions := _questions(context):
                packages[document.package].setdefault(context, questions)
        for package in sorted(packages):
            contexts = sorted(packages[package].items(), key=lambda item: _draw("order", item[0]))
            for number, (context, questions) in enumerate(contexts):
                for question, _, answer in questions:
                    yield {"question": question, "context": context, "answers": (answer,)}
                others = (contexts[(number + step) % len(contexts)][1] for step in range(1, len(contexts)))
                for question in _foreign(context, others):
                    yield {"question": question, "context": context, "answers": ()}

    def read(self, example):
        return example["context"]


def documents_by_split():
    """{split: list of pydocs.Document}: which split is decided by the text."""
    splits = {split: [] for split in SPLITS}
    for document in pydocs.documents():
        splits[_split_of(document.text)].append(document)
    return splits


def _split_of(text):
    if is_held_out(text, TEST_SHARE):
        return "test"
    return "validation" if is_held_out(text, HELD_OUT_SHARE) else "train"


def _folded(text):
    """A text as it counts when two are compared: without case and line breaks."""
    return " ".join(text.casefold().split())


def _draw(use, text):
    """A number that stands for chance: decided by the text, and another for another use."""
    return hashlib.sha256(f"{use} {text}".encode()).digest()


def _summaries(documents):
    """Yields (document, summary, body) of the documents that have both."""
    for document in documents:
        summary, body = docstrings.summary_and_body(document.text)
        short = len(summary.split()) < SUMMARY_WORDS or len(body) < BODY_CHARACTERS
        if not short and len(summary) <= SUMMARY_CHARACTERS:
            yield document, summary, body


def _pieces(source):
    """Yields lists of (word, kind): statements of a piece of code, as many as CODE_WORDS allow at a time."""
    piece = []
    try:
        for statement in docstrings.code_words(source):
            if len(piece) + len(statement) > CODE_WORDS:
                if piece:
                    yield piece
                piece = []
            if len(statement) <= CODE_WORDS:
                piece = piece + statement
    except SyntaxError:  # shell commands, half of a statement
        return
    if piece:
        yield piece


def _context(text):
    """The lines of a text that fit CONTEXT_CHARACTERS."""
    if len(text) <= CONTEXT_CHARACTERS:
        return text
    return text[: text.rfind("\n", 0, CONTEXT_CHARACTERS + 1)].rstrip()


def _questions(context):
    """A tuple of (question, the name it is about, (answer, first character)): QUESTIONS of a context at most."""
    questions = []
    for parameter in docstrings.parameters(context):
        name = parameter.name.lstrip("*")
        first, last = parameter.description
        sentence = sentences.split(context[first:last])[0].rstrip()
        questions.append((f"What is `{name}`?", name, (sentence, first)))
        if parameter.type:
            first, last = parameter.type
            questions.append((f"Of which type is `{name}`?", name, (context[first:last], first)))
    questions = [entry for entry in questions if len(entry[2][0]) <= ANSWER_CHARACTERS]
    return tuple(sorted(questions, key=lambda entry: _draw(entry[0], context))[:QUESTIONS])


def _foreign(context, others):
    """Yields one of the others' questions that the context cannot answer, where there is one."""
    words = set(re.findall(r"\w+", context))
    for questions in others:
        for question, name, _ in questions:
            if name not in words:
                yield question
                return


TASKS = (Package(), SummaryMatch(), Definition(), Documentation(), TokenKinds(), SectionAnswer(), Summary())
