"""Examples that are answered with a class, a number, a choice or vectors: one text, a pair, or several of either."""

import numbers

import numpy as np

from cloze.data.encoding.collector import check_number, name, value_of
from cloze.errors import ConfigError, DataError


def longest_first(first, second, room):
    """Sizes of a pair that is cut token by token, always from the longer text, and from the second if they are equal.

    Devlin et al. 2019, reference implementation.

    Args:
        first, second: tokens of the texts.
        room: tokens of both together, at most.

    Returns:
        (tokens of the first, tokens of the second) that are kept.
    """
    if first + second > room:
        first = min(first, max(room - second, (room + 1) // 2))
        second = room - first
    return first, second


def add_classes(collector, examples, tokenizer, labels, training):
    """Adds examples of kind class; arguments as of `data.encoding.encode`, examples numbered."""

    def label(example, number):
        value = value_of(example, number, "label", training)
        return -1 if value is None else check_number(example, number, value, len(labels), "label", labels)

    _add_texts(collector, examples, tokenizer, label)


def add_numbers(collector, examples, tokenizer, labels, training):
    """Adds examples of kind regression; see `add_classes`."""
    del labels

    def label(example, number):
        value = value_of(example, number, "label", training)
        if value is None:
            return np.nan
        if not isinstance(value, (numbers.Real, np.number)) or not np.isfinite(value):
            raise DataError(
                f"{name(example, number)} has the label {value!r}, which is not a finite number: correct the example"
            )
        return float(value)

    _add_texts(collector, examples, tokenizer, label)


def add_choices(collector, examples, tokenizer, labels, training):
    """Adds examples of kind choice, each choice behind the context, as many as an example has; see `add_classes`."""
    del labels
    contexts = tokenizer.encode_batch([example["context"] for _, example in examples])
    choices = iter(tokenizer.encode_batch([choice for _, example in examples for choice in example["choices"]]))
    for (number, example), context in zip(examples, contexts, strict=True):
        count = len(example["choices"])
        if not count:
            raise DataError(f"{name(example, number)} has no choices: remove it")
        label = value_of(example, number, "label", training)
        for _ in range(count):
            _add_pair(collector, context, next(choices))
        label = -1 if label is None else check_number(example, number, label, count, "label")
        collector.feature(number, count, labels=label)


def add_compared(collector, examples, tokenizer, labels, training):
    """Adds examples of kind embedding, each text by itself; see `add_classes`."""
    del labels, training
    room = collector.room(1)
    encoded = iter(tokenizer.encode_batch([text for _, example in examples for text in example["texts"]]))
    for number, example in examples:
        count = len(example["texts"])
        if count < 2:
            raise DataError(f"{name(example, number)} has {count} text(s), where an anchor and a positive are expected")
        for _ in range(count):
            ids = next(encoded)
            collector.text(ids[:room], cut=max(len(ids) - room, 0))
        collector.feature(number, count)


def _add_texts(collector, examples, tokenizer, label):
    firsts = tokenizer.encode_batch([example["text"] for _, example in examples])
    paired = [example["text_b"] for _, example in examples if "text_b" in example]
    seconds = iter(tokenizer.encode_batch(paired))
    both = collector.layout.both_orders
    for (number, example), first in zip(examples, firsts, strict=True):
        if "text_b" in example:
            second = next(seconds)
            _add_pair(collector, first, second)
            if both:
                _add_pair(collector, second, first)
        elif both:
            raise ConfigError(
                f"task.both_orders is for pairs, and {name(example, number)} has one text: set task.both_orders=False"
            )
        else:
            shortened = first[: collector.room(1)]
            collector.text(shortened, cut=len(first) - len(shortened))
        collector.feature(number, 2 if both else 1, labels=label(example, number))


def _add_pair(collector, first, second):
    sizes = longest_first(len(first), len(second), collector.room(2))
    collector.text(first[: sizes[0]], second[: sizes[1]], cut=len(first) + len(second) - sum(sizes))
