"""Which tokens of a row are hidden, and what stands in their place.

Functions of one row, of static shapes, to be vmapped. What is hidden together never crosses a *run*: tokens of one
packed segment with no special token between them. Choices that depend on earlier ones are loops of a fixed number of
turns over whole arrays, which every device runs for its own rows.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from cloze import options
from cloze.data.corpus_files import ENTITY, ENTITY_START, SENTENCE_END
from cloze.errors import ConfigError, DataError
from cloze.objectives.base import Objective
from cloze.objectives.draws import random_order

SEARCHED = 16  # batches that must hold a name, date or number where an objective hides those


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskRate(Objective):
    """An objective that hides a share of a row's tokens."""

    mask_rate: float = options.option(0.15, "share of a row's tokens that is hidden", above=0, below=1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Replacements(MaskRate):
    """An objective that puts a mask or a random token in the place of hidden ones."""

    mask_token_share: float = options.option(0.8, "share of the hidden tokens that becomes the mask", least=0, most=1)
    random_token_share: float = options.option(
        0.1, "share of the hidden tokens that becomes a random token; the rest is kept", least=0, most=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.mask_token_share + self.random_token_share > 1 + 1e-9:  # 0.9 + 0.1 may round above 1
            raise ConfigError(
                f"objective.mask_token_share={self.mask_token_share} and objective.random_token_share="
                f"{self.random_token_share} exceed 1 together: lower one of them"
            )


def marked(table_V, tokens, unset):
    """bool [...], what a table says of each token; `unset` of all where the table is None."""
    return jnp.full(tokens.shape, unset) if table_V is None else jnp.asarray(table_V)[tokens]


def prediction_counts(length, mask_rate, max_predictions):
    """How many tokens to hide in a row, by how many tokens it has that are not padding.

    Counts are tabulated in Python because float32 arithmetic on the device would round some halves the other way.

    Args:
        length: tokens of a full row.
        mask_rate: share of the tokens, special ones included, that is hidden.
        max_predictions: upper bound, or None.

    Returns:
        int32 [length + 1], from BERT's rule: the rounded share (halves to even), at least 1, at most the bound.
    """
    return _counts(length, mask_rate, max_predictions, round)


def span_counts(length, mask_rate, max_predictions):
    """As `prediction_counts`, by SpanBERT's rule: from the number of text tokens of a row, and rounded up."""
    return _counts(length, mask_rate, max_predictions, math.ceil)


def _counts(length, mask_rate, max_predictions, rounded):
    cap = length if max_predictions is None else max_predictions
    return np.array([min(cap, max(1, rounded(mask_rate * n))) for n in range(length + 1)], np.int32)


def ngram_shares(longest):
    """f32 [longest]: the share of n-grams of 1, 2, ... words, proportional to 1 / n (Lan et al. 2020, section 4.1)."""
    shares = 1 / np.arange(1, longest + 1)
    return (shares / shares.sum()).astype(np.float32)


def span_shares(success, longest):
    """f32 [longest]: the share of spans of 1, 2, ... words, geometric and cut off (Joshi et al. 2020, section 3.1)."""
    shares = success * (1 - success) ** np.arange(longest)
    return (shares / shares.sum()).astype(np.float32)


def text_runs(tokens_R, segments_R, special_V):
    """Numbers the stretches of text within which tokens may be hidden together.

    Args:
        tokens_R: int32 [R].
        segments_R: int32 [R], 0 on padding, or None where the row is whole.
        special_V: bool [V], ids that are no text, or None.

    Returns:
        int32 [R]: 1, 2, ... in the runs, 0 on special tokens and padding.
    """
    text_R = ~marked(special_V, tokens_R, False)
    segments_R = jnp.ones_like(tokens_R) if segments_R is None else segments_R
    text_R &= segments_R > 0
    begins_R = text_R & (_changes(text_R) | _changes(segments_R))
    return jnp.where(text_R, jnp.cumsum(begins_R), 0).astype(jnp.int32)


def word_indices(run_R, starts_R):
    """Numbers the words of a row.

    Args:
        run_R: from `text_runs`.
        starts_R: bool [R], the token begins a word; the first token of a run does in any case.

    Returns:
        int32 [R]: 0, 1, ... on text, R elsewhere.
    """
    begins_R = (run_R > 0) & (starts_R | _changes(run_R))
    return jnp.where(run_R > 0, jnp.cumsum(begins_R) - 1, run_R.shape[0]).astype(jnp.int32)


def _changes(array_R):
    """bool [R]: the first element, and those that differ from the one before."""
    return jnp.concatenate([jnp.ones(1, bool), array_R[1:] != array_R[:-1]])


def sample_positions(key, candidates_R, count, capacity):
    """Draws positions uniformly without replacement.

    Args:
        key: threefry key.
        candidates_R: bool [R], where something may be drawn.
        count: int scalar; fewer are drawn where there are fewer candidates.
        capacity: Python int, at least any `count` and at most R.

    Returns:
        positions int32 [capacity] in ascending order, 0 in unused slots at the end, and which slots are used, bool.
    """
    drawn = random_order(key, candidates_R.shape[0], candidates_R)[:capacity]
    used = jnp.arange(capacity) < jnp.minimum(count, jnp.sum(candidates_R))
    ordered = jnp.sort(jnp.where(used, drawn, candidates_R.shape[0]))
    return jnp.where(used, ordered, 0), used


def positions_of(hidden_R, capacity):
    """The places of what is hidden, as `sample_positions` gives them; `capacity` is at least their number."""
    length = hidden_R.shape[0]
    ordered = jnp.sort(jnp.where(hidden_R, jnp.arange(length), length))[:capacity]
    used = ordered < length
    return jnp.where(used, ordered, 0), used


def choose_ngrams(key, word_R, run_R, count, *, shares, capacity):
    """Hides n-grams of whole words at random until the budget is used up (ALBERT; with one share, BERT's whole words).

    Words are visited in random order. Each begins an n-gram of random length, as many words as its run still has at
    most; the n-gram is shortened until it fits the budget, and skipped if even one word does not fit or if a word of it
    is hidden already.

    Args:
        key: threefry key.
        word_R: int32 [R], from `word_indices`; R where nothing may be hidden.
        run_R: int32 [R], from `text_runs`.
        count: int scalar, tokens to hide; up to a word's length fewer are hidden where no word fits what is left.
        shares: f32 [N], of the lengths 1 to N.
        capacity: Python int, at least any `count`.

    Returns:
        bool [R].
    """
    order_key, length_key = jax.random.split(key)
    length, longest = word_R.shape[0], len(shares)
    place_W = jnp.arange(length)
    run_W = jnp.zeros(length, jnp.int32).at[word_R].set(run_R, mode="drop")
    size_W = jnp.zeros(length, jnp.int32).at[word_R].add(1, mode="drop")
    follows_NW = [(run_W > 0) & (_shifted(run_W, n) == run_W) for n in range(longest)]
    tokens_WN = jnp.cumsum(
        jnp.stack([jnp.where(follows, _shifted(size_W, n), 0) for n, follows in enumerate(follows_NW)], axis=1), axis=1
    )
    room_W = jnp.sum(jnp.stack(follows_NW), axis=0)
    # An n-gram that has no room is not shortened: the lengths that fit keep the ratio of their shares.
    cumulative_N = jnp.cumsum(jnp.asarray(shares))
    drawn_W = jax.random.uniform(length_key, (length,)) * cumulative_N[jnp.maximum(room_W, 1) - 1]
    words_W = jnp.minimum(1 + jnp.sum(drawn_W[:, None] >= cumulative_N, axis=1), room_W)
    order_W = jax.random.uniform(order_key, (length,))

    def visit(_, state):
        hidden_W, open_W, left = state
        open_W &= ~hidden_W & (size_W <= left)  # the budget only falls: what does not fit now never will
        w = jnp.argmax(jnp.where(open_W, order_W, -1.0))
        words = jnp.minimum(words_W[w], jnp.sum(tokens_WN[w] <= left))
        inside_W = (place_W >= w) & (place_W < w + words)
        taken = open_W[w] & ~jnp.any(inside_W & hidden_W)
        left -= jnp.where(taken, tokens_WN[w, words - 1], 0)
        return hidden_W | (inside_W & taken), open_W & (place_W != w), left

    # Each n-gram taken uses budget, and at most `longest` - 1 words before it begin n-grams that run into it.
    turns = min(length, capacity * longest)
    nothing_W = jnp.zeros(length, bool)
    hidden_W, _, _ = jax.lax.fori_loop(0, turns, visit, (nothing_W, size_W > 0, jnp.asarray(count, jnp.int32)))
    return hidden_W.at[word_R].get(mode="fill", fill_value=False)


def _shifted(array_W, places):
    """The array moved to the left, zeros behind."""
    return jnp.pad(array_W[places:], (0, places))


def choose_spans(key, word_R, run_R, count, *, shares, capacity):
    """Hides spans of whole words until the budget is used up to the token (Joshi et al. 2020, section 3.1).

    A span begins at the word of a random token that is not hidden yet, and has a random number of words, fewer where
    its run ends. It may run into hidden words, which it then joins. The last one is cut, perhaps within a word.

    Args:
        key: threefry key.
        word_R, run_R, count, shares, capacity: as in `choose_ngrams`.

    Returns:
        bool [R], `count` times True, or as often as there is text.
    """
    order_key, length_key = jax.random.split(key)
    text_R = word_R < word_R.shape[0]
    # The first of a random order that is not hidden yet is a uniform draw from what is not hidden yet.
    order_R = jnp.where(text_R, jax.random.uniform(order_key, word_R.shape), -1.0)
    cumulative_N = jnp.cumsum(jnp.asarray(shares))
    drawn_S = jax.random.uniform(length_key, (capacity,)) * cumulative_N[-1]
    words_S = jnp.minimum(1 + jnp.sum(drawn_S[:, None] >= cumulative_N, axis=1), len(shares))

    def add(turn, state):
        hidden_R, last_R, left = state
        open_R = text_R & ~hidden_R
        anchor = jnp.argmax(jnp.where(open_R, order_R, -1.0))
        first = word_R[anchor]
        inside_R = (run_R == run_R[anchor]) & (word_R >= first) & (word_R < first + words_S[turn])
        added = open_R[anchor] & (left > 0)
        new_R = inside_R & ~hidden_R & added
        return hidden_R | new_R, jnp.where(added, new_R, last_R), left - jnp.sum(new_R)

    nothing_R = jnp.zeros(word_R.shape, bool)
    state = (nothing_R, nothing_R, jnp.asarray(count, jnp.int32))
    hidden_R, last_R, left = jax.lax.fori_loop(0, capacity, add, state)
    kept = jnp.sum(last_R) + jnp.minimum(left, 0)  # tokens of the last span that the budget still had
    return hidden_R & ~(last_R & (jnp.cumsum(last_R) > kept))


def check_entities(batches):
    """Refuses a corpus without names, dates and numbers.

    Args:
        batches: see `Objective.check_rows`.

    Raises:
        DataError: none is in the first batches.
    """
    if not any((batches(step)["flags"] & ENTITY).any() for step in range(SEARCHED)):
        raise DataError(
            f"no name, date or number was found in the first {SEARCHED} batches, so that there is nothing to hide: "
            "give text with capitals and numbers, or choose another objective.name or objective.masking"
        )


def choose_entities(key, flags_R, run_R, count, *, capacity):
    """Hides one random name, date or number of each sentence (Guu et al. 2020, section 3.4).

    Where all of them together exceed the budget, sentences are taken in random order while theirs fits.

    Args:
        key: threefry key.
        flags_R: int32 [R], bits SENTENCE_END, ENTITY_START and ENTITY.
        run_R, count, capacity: as in `choose_ngrams`.

    Returns:
        bool [R].
    """
    draw_key, order_key = jax.random.split(key)
    chosen_R = draw_entities(draw_key, flags_R, run_R)
    return choose_ngrams(order_key, chosen_R, run_R, count, shares=np.ones(1, np.float32), capacity=capacity)


def draw_entities(key, flags_R, run_R):
    """Draws one name, date or number of each sentence that has any.

    What a special token or the beginning of the row cuts off is one of its own.

    Args:
        key, flags_R, run_R: as in `choose_entities`.

    Returns:
        int32 [R]: different numbers below R on the tokens of those that are drawn, R elsewhere.
    """
    length = run_R.shape[0]
    ended_R = jnp.concatenate([jnp.zeros(1, bool), (flags_R & SENTENCE_END)[:-1] > 0])
    new_sentence_R = ended_R | _changes(run_R)
    sentence_R = jnp.cumsum(new_sentence_R)  # 1 to R
    named_R = (run_R > 0) & (flags_R & ENTITY > 0)
    begins_R = named_R & ((flags_R & ENTITY_START > 0) | _changes(named_R) | new_sentence_R)
    entity_R = jnp.where(named_R, jnp.cumsum(begins_R) - 1, length)
    rank_E = random_order(key, length)
    rank_R = rank_E.at[entity_R].get(mode="fill", fill_value=-1)
    highest_S = jnp.full(length + 1, -1).at[sentence_R].max(rank_R)
    return jnp.where(rank_R == highest_S[sentence_R], entity_R, length)


def span_indices(positions_P, used_P, run_R):
    """Numbers the hidden spans, which are hidden neighbours of one run.

    Args:
        positions_P, used_P: from `positions_of`.
        run_R: from `text_runs`.

    Returns:
        int32 [P]: 0, 1, ... in used slots; unused ones lie in none and have any number below P.
    """
    run_P = run_R[positions_P]
    joined_P = used_P[1:] & (positions_P[1:] == positions_P[:-1] + 1) & (run_P[1:] == run_P[:-1])
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(~joined_P).astype(jnp.int32)])


def replace_tokens(choice_P, random_P, targets_P, *, mask, mask_share, random_share):
    """What stands in the place of hidden tokens: [MASK], a random token, or the token itself.

    Args:
        choice_P: f32 [P], uniform in [0, 1).
        random_P: int32 [P], random ids.
        targets_P: int32 [P], the tokens.
        mask: id of [MASK].
        mask_share, random_share: the rest keeps its token.

    Returns:
        int32 [P].
    """
    kept_P = jnp.where(choice_P < mask_share + random_share, random_P, targets_P)
    return jnp.where(choice_P < mask_share, mask, kept_P)
