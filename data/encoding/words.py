"""Examples whose words have tags. The first piece of a word has its tag (Devlin et al. 2019, section 5.3).

The words are tokenised as one text with a space between them, and pieces are given to words by where they come from:
so every tokenizer sees what it was trained on, and a word of which nothing is left shifts no tag. Words that stand
behind the end of the row have no piece in it.
"""

import itertools

import numpy as np

from cloze.data.encoding.collector import check_number, name, value_of
from cloze.errors import DataError


def add(collector, examples, tokenizer, labels, training):
    """Adds examples of kind tag; arguments as of `data.encoding.encode`, examples numbered."""
    room = collector.room(1)
    all_tags = [value_of(example, number, "tags", training) for number, example in examples]
    for (number, example), tags in zip(examples, all_tags, strict=True):
        if tags is not None and len(tags) != len(example["words"]):
            raise DataError(
                f"{name(example, number)} has {len(example['words'])} words and {len(tags)} tags: each word needs one"
            )
    # An empty word would stand between two spaces, which tokenizers treat in ways of their own.
    solid = [[(i, word.strip()) for i, word in enumerate(e["words"]) if word.strip()] for _, e in examples]
    encoded = tokenizer.encode_with_offsets([" ".join(word for _, word in some) for some in solid])
    for (number, example), tags, some, (ids, chars) in zip(examples, all_tags, solid, encoded, strict=True):
        words = _words_of(chars, [len(word) for _, word in some], np.array([i for i, _ in some], np.int32))
        tagged = np.full(len(ids), -1, np.int32)
        present, first = np.unique(words, return_index=True)
        if tags is not None:
            numbers = [check_number(example, number, tag, len(labels), "tag", labels) for tag in tags]
            tagged[first] = np.array(numbers, np.int32)[present]
        size, (start,) = collector.text(ids[:room], cut=max(len(ids) - room, 0))
        for column, values in (("token_labels", tagged), ("words", words)):
            per_token = np.full(size, -1, np.int32)
            per_token[start : start + len(ids[:room])] = values[:room]
            collector.per_token(column, per_token)
        collector.feature(number, lost=int((first >= room).sum()))


def _words_of(chars, sizes, numbers):
    """The word of each piece, int32 [n].

    Args:
        chars: int32 [n, 2], the characters [start, end) of each piece of the joined text.
        sizes: characters of each word in it.
        numbers: int32 [words], what they are called.
    """
    if not sizes:
        return np.full(len(chars), -1, np.int32)
    ends = np.array(list(itertools.accumulate(size + 1 for size in sizes))) - 1
    start, end = chars[:, 0], chars[:, 1]
    # The last character decides: pieces may begin with the space before their word. A space alone is the next word's.
    last = np.where(end > start, end - 1, start)
    return numbers[np.minimum(np.searchsorted(ends, last, side="right"), len(sizes) - 1)]
