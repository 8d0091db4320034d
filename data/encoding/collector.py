"""Where encoded examples are collected, and what all kinds of them share."""

import collections
import itertools

import numpy as np

from cloze.errors import ConfigError, DataError

_PER_TOKEN = {
    "tokens": np.int32,
    "token_labels": np.int32,
    "words": np.int32,
    "char_start": np.int32,
    "char_end": np.int32,
    "scored": np.uint8,
}
_BY_KIND = {  # arrays beyond those that all kinds have
    "class": ("labels",),
    "regression": ("labels",),
    "choice": ("labels",),
    "embedding": (),
    "tag": ("token_labels", "words", "lost"),
    "span": ("labels", "char_start", "char_end", "lost"),
    "text": ("lost",),
}


class Collector:
    """Collects the features of a split; see `data.encoding.encode` for the arrays that come of it.

    Attributes:
        layout: data.encoding.Layout.
        two_streams: answers are written apart from prompts, for an encoder-decoder's decoder.
    """

    def __init__(self, layout):
        self.layout = layout
        self.two_streams = layout.kind == "text" and layout.architecture == "encoder_decoder"
        self._start, self._separator, self._end = (
            np.array(ids, np.int32) for ids in (layout.start, layout.separator, layout.end)
        )
        self._values = collections.defaultdict(list)  # one value a text or feature
        self._pending = collections.defaultdict(list)  # arrays of values of tokens, of this call
        self._chunks = collections.defaultdict(list)  # the same, joined, of earlier calls
        self._empty = []  # numbers of examples with a text without a token

    def room(self, texts, between=None):
        """Tokens of text that a row has room for beside its special tokens.

        Args:
            texts: how many texts it is to hold, each of a token at least.
            between: what stands between two of them; None: the layout's separator.

        Raises:
            ConfigError: there is less.
        """
        special = len(self._start) + len(self._end) + (texts - 1) * len(self._separator if between is None else between)
        if self.layout.length - special < texts:
            raise ConfigError(
                f"rows of {self.layout.length} tokens have no room for {'text' if texts == 1 else 'two texts'} beside "
                f"{special} special tokens: raise data.sequence_length"
            )
        return self.layout.length - special

    def text(self, *parts, cut=0, ended=True):
        """Adds a text.

        Args:
            *parts: int32 arrays, written with separators between them.
            cut: tokens that were left out of them.
            ended: False leaves out the layout's end, for a prompt that is to be continued.

        Returns:
            (its size with all special tokens, position of the first token of each part).
        """
        positions, size = [], len(self._start)
        self.per_token("tokens", self._start)
        for number, ids in enumerate(parts):
            if number:
                self.per_token("tokens", self._separator)
                size += len(self._separator)
            positions.append(size)
            self.per_token("tokens", ids)
            size += len(ids)
        if ended:
            self.per_token("tokens", self._end)
            size += len(self._end)
        self._values["sizes"].append(size)
        self._values["types"].append(positions[1] if self.layout.types and len(parts) > 1 else size)
        self._values["pool"].append(self.pool(size))
        self._values["cut"].append(cut)
        return size, positions

    def pool(self, size):
        """The position that classifiers read in a text of `size` tokens."""
        return 0 if self.layout.pool == "first" else size - 1

    def per_token(self, name, values):
        """Adds values of tokens, as an array."""
        self._pending[name].append(values)

    def feature(self, number, texts=1, **values):
        """Ends a feature.

        Args:
            number: of its example.
            texts: how many of the texts added last are its own.
            **values: one value for each array that has one for a feature.
        """
        for name, value in (dict(counts=texts, example=number) | values).items():
            self._values[name].append(value)
        self._empty += [number] if 0 in self._values["sizes"][-texts:] else []

    def prefix(self, tokens):
        """Says how many tokens of the text added last are its prompt."""
        self._values["prefix"].append(tokens)

    def targets(self, ids):
        """Adds the answer of a feature for an encoder-decoder, in the order of features.

        Args:
            ids: int32 array, to be written with the layout's end; None where it is not known.
        """
        whole = () if ids is None else (ids, self._end)
        self._pending["target_tokens"].extend(whole)
        self._values["target_sizes"].append(sum(map(len, whole)))

    def compact(self, examples):
        """Joins what was added since the last call, which takes less memory.

        Args:
            examples: {number: example} of what was added.

        Raises:
            DataError: a text has no token, not even a special one.
        """
        for number in self._empty:
            raise DataError(
                f"{name(examples[number], number)} has a text without a token: the tokenizer leaves nothing of it; "
                "remove the example, or use a tokenizer with an end"
            )
        for column, arrays in self._pending.items():
            if arrays:
                self._chunks[column].append(np.concatenate(arrays).astype(_PER_TOKEN.get(column, np.int32)))
        self._pending.clear()

    def arrays(self):
        """All features; see `data.encoding.encode`."""
        arrays = {
            "tokens": self._joined("tokens"),
            "offsets": self._offsets("sizes"),
            "first_text": self._offsets("counts"),
            **{name: np.array(self._values[name], np.int32) for name in ("types", "pool", "cut", "example")},
        }
        for name in _BY_KIND[self.layout.kind]:
            arrays[name] = self._joined(name) if name in _PER_TOKEN else self._of_features(name)
        if self.two_streams:
            arrays["target_tokens"] = self._joined("target_tokens")
            arrays["target_offsets"] = self._offsets("target_sizes")
        elif self.layout.kind == "text":
            arrays["scored"] = self._joined("scored")
            arrays["prefix"] = np.array(self._values["prefix"], np.int32)
        return arrays

    def _joined(self, name):
        return np.concatenate([np.zeros(0, _PER_TOKEN.get(name, np.int32)), *self._chunks[name]])

    def _offsets(self, sizes):
        return np.array([0, *itertools.accumulate(self._values[sizes])], np.int64)

    def _of_features(self, name):
        dtype = np.float32 if self.layout.kind == "regression" else np.int32
        shape = (-1, 2) if name == "labels" and self.layout.kind == "span" else (-1,)
        return np.array(self._values[name], dtype).reshape(shape)


def name(example, number):
    """How an example is called in messages: file and line where it is from one, and its id or number."""
    where = getattr(example.get("example", example), "where", None)  # of what is read as text, the example behind it
    return (f"{where}: " if where else "") + _own_name(example, number)


def _own_name(example, number):
    return f"example {example['id']!r}" if "id" in example else f"example {number} (from 0)"


def value_of(example, number, field, training):
    """The value of a field, None where it is not known.

    Raises:
        DataError: it is not known, and is to be learned.
    """
    value = example.get(field)
    if value is None and training:
        raise DataError(
            f"{name(example, number)} has no {field} to learn: remove it from the training split, or fill it in"
        )
    return value


def check_number(example, number, value, count, what, names=()):
    """The number of a class, as an int.

    Args:
        example, number: for the message.
        value: an integer.
        count: how many classes there are.
        what: "label" or "tag".
        names: of the classes.

    Raises:
        DataError: it is none of 0 to count - 1.
    """
    if not isinstance(value, (int, np.integer)) or not 0 <= value < count:
        listed = f" ({', '.join(names)})" if 0 < len(names) <= 10 else ""
        raise DataError(
            f"{name(example, number)} has the {what} {value!r}, which is none of the numbers from 0 to {count - 1}"
            f"{listed}: correct the example, or what the task says its labels are"
        )
    return int(value)
