"""From what a model says of tokens back to what a task asks for: spans of passages, and tags of words."""

import numpy as np


def spans(arrays, starts, ends, examples, *, n_best, max_answer, null_threshold):
    """The answers to questions on passages (Devlin et al. 2019, sections 4.2 and 4.3).

    A span's score is the sum of its first token's logit as a start and its last token's as an end. Of each window the
    n_best highest starts and ends are combined; the best span of all windows is the answer. The score of "no answer"
    is the least, over windows, of the same sum at the position that stands for it.

    Args:
        arrays: of `data.encoding.encode`, n features of kind span.
        starts, ends: sequences of n float arrays, the logits of each feature's tokens; what is longer than the feature
            is padding.
        examples: the raw examples, in the order in which they were encoded.
        n_best: starts, and ends, that are combined.
        max_answer: tokens of an answer at most.
        null_threshold: no answer is given where the score of that is higher than the best answer's by more than this;
            None: each question has an answer (SQuAD 1.1).

    Returns:
        List of str, the answer to each example, "" for none.
    """
    offsets = arrays["offsets"]
    best, null = {}, {}
    for i, number in enumerate(arrays["example"].tolist()):
        tokens = slice(offsets[i], offsets[i + 1])
        size = offsets[i + 1] - offsets[i]
        start, end = (np.asarray(logits[i], np.float32)[:size] for logits in (starts, ends))
        pool = arrays["pool"][i]
        null[number] = min(null.get(number, np.inf), float(start[pool]) + float(end[pool]))
        characters = arrays["char_start"][tokens], arrays["char_end"][tokens]
        span = _best_span(start, end, characters[0] >= 0, n_best, max_answer)
        if span is not None and span[0] > best.get(number, (-np.inf,))[0]:
            score, first, last = span
            best[number] = score, characters[0][first], characters[1][last]
    answers = []
    for number, example in enumerate(examples):
        score, first, last = best.get(number, (-np.inf, 0, 0))
        none = null_threshold is not None and null[number] - score > null_threshold
        answers.append("" if none else example["context"][first:last].strip())
    return answers


def _best_span(start, end, allowed, n_best, max_answer):
    """(score, first, last) of the best span of a window; None where there is none."""
    positions = np.flatnonzero(allowed)
    firsts = positions[np.argsort(-start[positions], kind="stable")[:n_best]]
    lasts = positions[np.argsort(-end[positions], kind="stable")[:n_best]]
    sizes = lasts[None, :] - firsts[:, None] + 1
    scores = np.where((sizes >= 1) & (sizes <= max_answer), start[firsts][:, None] + end[lasts], -np.inf)
    if not scores.size or scores.max() == -np.inf:
        return None
    first, last = np.unravel_index(np.argmax(scores), scores.shape)
    return float(scores[first, last]), int(firsts[first]), int(lasts[last])


def tags(arrays, predicted, examples, default):
    """The tags of words: those that a model gives their first pieces.

    Args:
        arrays: of `data.encoding.encode`, n features of kind tag.
        predicted: sequence of n integer arrays, the tag of each token of a feature; what is longer is padding.
        examples: the raw examples, in the order in which they were encoded.
        default: the tag of words that have no piece, or none in the row: outside all entities, or the most frequent.

    Returns:
        List of lists of int, as long as each example's words.
    """
    answers = []
    for i, example in enumerate(examples):
        words = arrays["words"][arrays["offsets"][i] : arrays["offsets"][i + 1]]
        present, first = np.unique(words, return_index=True)
        present, first = present[present >= 0], first[present >= 0]
        answer = np.full(len(example["words"]), default, np.int64)
        answer[present] = np.asarray(predicted[i])[first]
        answers.append(answer.tolist())
    return answers
