"""The best span of a passage is found as by trying them all."""

import numpy as np
import pytest

from cloze.tasks import answers

CONTEXT = "one two  three four"
CHARACTERS = [(0, 3), (4, 7), (9, 14), (15, 19), (8, 8)]  # the last is a space alone


def windows(*tokens):
    """Features of one example each or more: lists of (example, tokens of its passage), after a question of 2 tokens."""
    sizes = [4 + len(part) for _, part in tokens]
    columns = [[-1, -1, -1, *(CHARACTERS[k][side] for k in part), -1] for side in (0, 1) for _, part in tokens]
    return {
        "offsets": np.cumsum([0, *sizes]),
        "example": np.array([number for number, _ in tokens], np.int32),
        "pool": np.zeros(len(tokens), np.int32),
        "char_start": np.concatenate(columns[: len(tokens)]).astype(np.int32),
        "char_end": np.concatenate(columns[len(tokens) :]).astype(np.int32),
    }


def tried(arrays, starts, ends, n_best, max_answer, threshold):
    """The answer to the only example, by loops over all windows and pairs of tokens."""
    best, null = (-np.inf, ""), np.inf
    for i, first_token in enumerate(arrays["offsets"][:-1]):
        size = arrays["offsets"][i + 1] - first_token
        null = min(null, starts[i][0] + ends[i][0])
        inside = [k for k in range(size) if arrays["char_start"][first_token + k] >= 0]
        high = [sorted(inside, key=lambda k: -logits[i][k])[:n_best] for logits in (starts, ends)]
        for s in high[0]:
            for e in high[1]:
                score = starts[i][s] + ends[i][e]
                if s <= e < s + max_answer and score > best[0]:
                    first, last = arrays["char_start"][first_token + s], arrays["char_end"][first_token + e]
                    best = score, CONTEXT[first:last]
    return "" if threshold is not None and null - best[0] > threshold else best[1]


@pytest.mark.parametrize("n_best, max_answer, threshold", [(20, 30, 0.0), (2, 2, 0.5), (1, 1, None), (3, 2, -1.0)])
def test_spans_equal_trying_them_all(n_best, max_answer, threshold):
    arrays, rng, found = windows((0, [0, 1, 2]), (0, [1, 2, 3])), np.random.default_rng(0), set()
    for _ in range(100):
        starts, ends = rng.normal(size=(2, 2, 9)).astype(np.float32)  # two places of padding
        options = dict(n_best=n_best, max_answer=max_answer, null_threshold=threshold)
        given = answers.spans(arrays, starts, ends, [{"context": CONTEXT}], **options)
        assert given == [tried(arrays, starts, ends, n_best, max_answer, threshold)]
        found |= set(given)
    assert len(found) > 3 and ("" in found) == (threshold is not None or max_answer == n_best == 1)


def test_no_answer_needs_every_window_and_more_than_the_threshold():
    arrays = windows((0, [0, 1]), (0, [2, 3]))
    starts, ends = np.zeros((2, 2, 6))
    starts[0, 3], ends[0, 3] = 1.0, 1.0  # "one" with 2
    starts[:, 0] = 3.0, 2.5  # no answer with 3 and 2.5: the least counts
    options = dict(n_best=20, max_answer=30)
    examples = [{"id": "a", "context": CONTEXT}]
    assert answers.spans(arrays, starts, ends, examples, null_threshold=0.4, **options) == [""]
    assert answers.spans(arrays, starts, ends, examples, null_threshold=0.5, **options) == ["one"]
    assert answers.spans(arrays, starts, ends, examples, null_threshold=None, **options) == ["one"]


def test_examples_are_answered_apart_and_keep_the_text_between_words():
    arrays = windows((0, [0, 1, 2]), (1, [3]))
    starts, ends = np.zeros((2, 2, 7))
    starts[0, 4], ends[0, 5] = 5.0, 5.0
    examples = [{"id": "a", "context": CONTEXT}, {"id": "a", "context": CONTEXT}]  # ids need not differ
    options = dict(n_best=20, max_answer=30, null_threshold=0.0)
    assert answers.spans(arrays, starts, ends, examples, **options) == ["two  three", "four"]
    spaced = windows((0, [1, 4]))
    starts, ends = np.zeros((2, 1, 6))
    starts[0, 3], ends[0, 4] = 5.0, 5.0
    assert answers.spans(spaced, starts, ends, examples[:1], **options) == ["two"]
    empty = windows((0, []))
    given = answers.spans(empty, *np.zeros((2, 1, 4)), [{"context": ""}], **(options | {"null_threshold": None}))
    assert given == [""]
