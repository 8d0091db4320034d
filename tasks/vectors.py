"""Vectors of texts: which examples they are learned of, and what their cosines say."""

import hashlib

import numpy as np

from cloze.errors import ConfigError, DataError
from cloze.tasks.base import Task

FORMAT = 1  # part of the fingerprint: raise it when other examples are made
_AT_ONCE = 1024  # anchors that are compared with all texts at once


class AsPairs(Task):
    """A task of pairs, of which those are read whose texts mean the same: an anchor and its positive.

    Attributes:
        task: the Task that is read so.

    Raises:
        ConfigError: it does not say which of its texts mean the same.
    """

    kind, metrics = "embedding", ("retrieval",)

    def __init__(self, task):
        if task.same is None:
            raise ConfigError(
                f"task {task.name} does not say which texts mean the same, so that no vectors can be learned of it: "
                "take one that does (summary_match, stsb, mrpc, qqp, mnli, snli), or your own jsonl:embedding"
            )
        self.task, self.name = task, task.name

    def fingerprint(self):
        return hashlib.sha256(f"pairs {FORMAT} {self.task.fingerprint()}".encode()).hexdigest()

    def labels(self):
        return ()

    def examples(self, split):
        labels, same = self.task.labels(), self.task.same
        for example in self.task.examples(split):
            label = example["label"]
            if label is not None and (labels[label] == same if labels else label >= same):
                yield compared(example)


def compared(example):
    """An example of a pair as one of kind embedding, whose anchor is `text` and whose positive is `text_b`.

    Raises:
        DataError: it has one text.
    """
    if "text_b" not in example:
        where = getattr(example, "where", "")
        raise DataError(f"{where}: the example has one text, where two are expected to compare: give it a text_b")
    kept = {key: example[key] for key in ("id",) if key in example}
    return kept | {"texts": (example["text"], example["text_b"])}


def predictions(task, examples, vectors):
    """What vectors say of examples.

    Args:
        task: tasks.Task; of kind regression its pairs are given their cosine, others the rank of the positive.
        examples: its raw examples.
        vectors: f32 [C, D] of each example's texts, in their order; further rows do not count.

    Returns:
        A list of float, or of int from 1.
    """
    if task.kind == "regression":
        unit = [_unit(np.asarray(some[:2])) for some in vectors]
        return [float(first @ second) for first, second in unit]
    texts = [example["texts"] for example in examples]
    used = [np.asarray(mine)[: len(some)] for some, mine in zip(texts, vectors, strict=True)]
    return ranks(texts, _unit(np.concatenate(used)))


def ranks(texts, vectors):
    """The rank of each anchor's positive among all positives and negatives, by cosine, from 1; of equal ones the last.

    Args:
        texts: a tuple of str for each example: an anchor, its positive, negatives. A text that stands there several
            times is one, and the anchor's own is not compared with it.
        vectors: f32 [n, D] or a sparse matrix, rows of length 1 for all n texts, one example's behind the other's.

    Returns:
        A list of int.
    """
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    numbers, rows = {}, []  # of the texts that anchors are compared with, in the order of the examples
    for start, some in zip(starts.tolist(), texts, strict=True):
        for row, text in enumerate(some[1:], start + 1):
            if numbers.setdefault(text, len(rows)) == len(rows):
                rows.append(row)
    others, found = vectors[rows].T, []
    for first in range(0, len(texts), _AT_ONCE):
        here = texts[first : first + _AT_ONCE]
        scores = vectors[starts[first : first + _AT_ONCE]] @ others
        scores = scores if isinstance(scores, np.ndarray) else scores.toarray()
        places, own = np.arange(len(here)), np.array([numbers[some[1]] for some in here])
        least = scores[places, own]
        for place, some in enumerate(here):
            if some[0] in numbers:
                scores[place, numbers[some[0]]] = -np.inf
        scores[places, own] = -np.inf
        found += (1 + (scores >= least[:, None]).sum(axis=1)).tolist()
    return found


def shared_words(task, examples):
    """{"shared_words": ranks} by the words that texts share, rare ones counting more (tf-idf, cosine)."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # only where it is used: it takes a second

    del task
    texts = [example["texts"] for example in examples]
    try:
        counts = TfidfVectorizer(token_pattern=r"\w+").fit_transform([text for some in texts for text in some])
    except ValueError:  # there is no word in them
        return {}
    return {"shared_words": ranks(texts, counts.tocsr())}


def _unit(vectors):
    """f32 [n, D] with rows of length 1; a row of zeros stays one."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
