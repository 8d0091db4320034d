"""From the raw examples of a task to tokens and labels, as flat arrays that batches are cut from."""

import itertools

from cloze.data.encoding import passages, responses, texts, words
from cloze.data.encoding.collector import Collector
from cloze.data.encoding.layout import Layout

__all__ = ["FORMAT", "Layout", "describe", "encode"]

FORMAT = 1  # counted up when the same examples come to give other arrays

_ENCODERS = {
    "class": texts.add_classes,
    "regression": texts.add_numbers,
    "choice": texts.add_choices,
    "embedding": texts.add_compared,
    "tag": words.add,
    "span": passages.add,
    "text": responses.add,
}
_EXAMPLES_PER_CALL = 1024  # texts of so many examples are tokenised at once


def encode(examples, tokenizer, layout, labels, *, training=False):
    """Writes examples as tokens.

    A feature is what a model answers at once: an example or, of a long passage, one of its windows. A feature has one
    or more texts: a choice question one for each choice, a pair that is read in both orders two.

    Args:
        examples: iterable of raw examples of the layout's kind, see tasks.base.
        tokenizer: data.tokenizers.Tokenizer.
        layout: data.encoding.Layout.
        labels: names of the labels or tags; () for kinds without.
        training: the labels are learned from, so that each must be known.

    Returns:
        dict of arrays, for n features:
            tokens int32 [tokens], offsets int64 [texts + 1]: all texts end to end.
            first_text int64 [n + 1]: feature i has the texts first_text[i]:first_text[i + 1].
            types int32 [texts]: the position in the text from which token types are 1; its length where there is none.
            pool int32 [texts]: the position that classifiers of whole texts read.
            cut int32 [texts]: tokens of the example for which the text had no room.
            example int32 [n]: the number of the example, in their order.
        class, choice: labels int32 [n], -1 where unknown. Regression: labels f32 [n], NaN where unknown.
        embedding: nothing beyond these.
        tag: parallel to tokens, token_labels int32, -1 what is not scored, and words int32, the number of the word,
            -1 outside; lost int32 [n], words for which there was no room. `tasks.answers.tags` reads them.
        span: labels int32 [n, 2], first and last token of the answer, both `pool` where the window has none, -1
            where unknown; parallel to tokens, char_start and char_end int32, the characters [start, end) of the
            context, -1 outside; lost int32 [n], 1 in the first window of an example whose answer is in none.
            `tasks.answers.spans` reads them.
        text: lost int32 [n], tokens of answers for which there was no room. Of decoders: scored uint8 parallel to
            tokens, 1 for those that are predicted, from the one before; prefix int32 [texts], tokens before the first
            answer; where the last answer is unknown the text ends with its prompt. Of encoder-decoders: target_tokens
            int32 [targets], target_offsets int64 [n + 1], the layout's end included, its target_start not; none where
            the answer is unknown.

    Raises:
        ConfigError: the layout has no room for text.
        DataError: an example is not what its kind says: which, and what is wrong.
    """
    collector = Collector(layout)
    numbered = enumerate(examples)
    while some := list(itertools.islice(numbered, _EXAMPLES_PER_CALL)):
        _ENCODERS[layout.kind](collector, some, tokenizer, labels, training)
        collector.compact(dict(some))
    return collector.arrays()


def describe(arrays, layout):
    """Lines for the log: what found no room.

    Args:
        arrays: what `encode` returned.
        layout: what it was given.

    Returns:
        List of str, empty where everything found room.
    """
    lines, lost = [], arrays.get("lost")
    if cut := int((arrays["cut"] > 0).sum()):
        part = "prompts" if layout.kind == "text" else "questions" if layout.kind == "span" else "texts"
        lines.append(
            f"{cut:,} of {len(arrays['cut']):,} {part} are cut, by {arrays['cut'].sum() / cut:.1f} tokens on average"
        )
    if lost is None or not lost.any():
        return lines
    features, total = int((lost > 0).sum()), int(lost.sum())
    if layout.kind == "tag":
        lines.append(
            f"{total:,} words of {features:,} examples lie behind the end of their rows, and are not predicted"
        )
    elif layout.kind == "span":
        lines.append(f"{total:,} of {int(arrays['example'].max()) + 1:,} examples have an answer that no window holds")
    else:
        lines.append(f"{features:,} of {len(lost):,} answers are cut at their end, by {total / features:.1f} tokens")
    return lines
