"""Questions whose answer is a span of a passage, read through windows (Devlin et al. 2019, sections 4.2 and 4.3).

A window holds the question and as much of the passage as fits; the next one begins `stride` tokens later. A window
that does not hold the whole answer is one without an answer.
"""

import numpy as np

from cloze.data.encoding.collector import name, value_of
from cloze.errors import ConfigError, DataError


def add(collector, examples, tokenizer, labels, training):
    """Adds examples of kind span; arguments as of `data.encoding.encode`, examples numbered."""
    del labels
    questions = tokenizer.encode_batch([example["question"] for _, example in examples])
    contexts = list(dict.fromkeys(example["context"] for _, example in examples))  # many questions have the same one
    encoded = {
        context: (ids, _without_spaces(context, chars))
        for context, (ids, chars) in zip(contexts, tokenizer.encode_with_offsets(contexts), strict=True)
    }
    for (number, example), question in zip(examples, questions, strict=True):
        ids, chars = encoded[example["context"]]
        answers = value_of(example, number, "answers", training)
        _check(example, number, answers or ())
        answer = _tokens_of(chars, *answers[0]) if answers else None
        _add_windows(collector, number, question, ids, chars, answer, answers)


def windows(tokens, size, stride):
    """The windows over so many tokens: a list of [first, end), one at least."""
    bounds, first = [(0, min(size, tokens))], 0
    while bounds[-1][1] < tokens:
        first += min(size, stride)
        bounds.append((first, min(first + size, tokens)))
    return bounds


def _add_windows(collector, number, question, ids, chars, answer, answers):
    """Adds the windows of an example.

    Args:
        collector: Collector.
        number: of the example.
        question, ids: int32, tokens of the question and of the passage.
        chars: int32 [n, 2], characters of the passage's tokens.
        answer: (first, last) token of the answer in the passage, or None.
        answers: as in the raw example; None where they are not known.
    """
    layout = collector.layout
    whole, question = question, question[: layout.max_question]
    room = collector.room(2) - len(question)
    if room < 1:
        raise ConfigError(
            f"rows of {layout.length} tokens have no room for a passage beside a question of {len(question)}: raise "
            "data.sequence_length or lower task.max_question"
        )
    bounds = windows(len(ids), room, layout.stride)
    holding = [answer is not None and first <= answer[0] and answer[1] < end for first, end in bounds]
    for k, ((first, end), holds) in enumerate(zip(bounds, holding, strict=True)):
        cut = len(whole) - len(question) if k == 0 else 0
        size, (_, start) = collector.text(question, ids[first:end], cut=cut)
        for column, values in (("char_start", chars[:, 0]), ("char_end", chars[:, 1])):
            characters = np.full(size, -1, np.int32)
            characters[start : start + end - first] = values[first:end]
            collector.per_token(column, characters)
        label = tuple(start + token - first for token in answer) if holds else (collector.pool(size),) * 2
        label = (-1, -1) if answers is None else label
        collector.feature(number, labels=label, lost=int(k == 0 and bool(answers) and not any(holding)))


def _without_spaces(text, chars):
    """The characters of pieces without the white space in front of them; of white space alone nothing is left."""
    solid = np.flatnonzero(~np.fromiter(map(str.isspace, text), bool, len(text)))
    following = np.append(solid, len(text))[np.searchsorted(solid, chars[:, 0])]
    return np.stack([np.minimum(following, chars[:, 1]), chars[:, 1]], axis=1).astype(np.int32)


def _tokens_of(chars, text, start):
    """(first, last) token of those that hold a character of the answer; None where there is none."""
    inside = (chars[:, 0] < start + len(text)) & (chars[:, 1] > start) & (chars[:, 0] < chars[:, 1])
    tokens = np.flatnonzero(inside)
    return (int(tokens[0]), int(tokens[-1])) if len(tokens) else None


def _check(example, number, answers):
    for text, start in answers:
        if start < 0 or not text or example["context"][start : start + len(text)] != text:
            there = example["context"][max(start, 0) : max(start, 0) + len(text)]
            raise DataError(
                f"{name(example, number)} has the answer {text!r} at character {start} of its context, where there is "
                f"{there!r}: correct the number, which counts characters from 0"
            )
