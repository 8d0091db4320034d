"""BART's five noises as functions of one row (Lewis et al. 2020, section 2.2; details from the authors' fairseq).

Each takes a row of R places whose first `length` are text, framed by one special token at either end, and leaves the
frame where it is. What stands after the text is of no meaning.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from cloze.objectives.draws import random_order
from cloze.objectives.text_to_text import compact

SMALLEST = 1e-7  # lengths of spans that are rarer are left out
SHORTFALL = 1e-7  # chance at most that the lengths drawn for a row do not make up its budget


def shares(length, rate):
    """How many of 0, 1, ..., `length` things a share is, rounded up: int32 [length + 1]."""
    return np.array([math.ceil(round(rate * n, 9)) for n in range(length + 1)], np.int32)


def poisson_shares(mean):
    """The distribution function of Poisson lengths, cut off where they get too rare: f32 [n]."""
    chances = [math.exp(-mean)]
    while chances[-1] >= SMALLEST or len(chances) <= mean:
        chances.append(chances[-1] * mean / len(chances))
    return (np.cumsum(chances) / np.sum(chances)).astype(np.float32)


def draws_needed(budget, span_shares):
    """How many lengths to draw so that they make up a budget of words but once in `1 / SHORTFALL` rows."""
    mean = float(np.sum(1 - np.asarray(span_shares, np.float64)))
    draws = max(1, math.ceil(budget / mean))
    while scipy.special.pdtr(budget - 1, draws * mean) > SHORTFALL:  # a sum of Poisson lengths is one too
        draws += 1
    return draws


def inside(size, length):
    """bool [size], the places between the frame's two tokens."""
    place_R = jnp.arange(size)
    return (place_R >= 1) & (place_R < length - 1)


def draw(key, candidates_R, count):
    """bool [R], `count` of the candidates, or all where there are fewer, every choice being equally likely."""
    size = candidates_R.shape[0]
    drawn_R = jnp.arange(size) < jnp.minimum(count, jnp.sum(candidates_R))
    return jnp.zeros(size, bool).at[random_order(key, size, candidates_R)].set(drawn_R)


def keep(tokens_R, kept_R, length):
    """Closes the gaps that deleted tokens leave: the row, and its new length."""
    size = tokens_R.shape[0]
    return compact(tokens_R, kept_R & (jnp.arange(size) < length), 0, size)


def permute_sentences(key, tokens_R, ends_R, length, counts):
    """Puts a share of the sentences in each other's places; a window's first and last may be parts of one.

    Args:
        key: threefry key.
        tokens_R: int32 [R].
        ends_R: bool [R], last tokens of sentences.
        length: tokens of the row.
        counts: int32 [R + 1], how many of n sentences change places; one may get its own place again.

    Returns:
        int32 [R].
    """
    which_key, order_key = jax.random.split(key)
    size = tokens_R.shape[0]
    place_R, inside_R = jnp.arange(size), inside(size, length)
    ends_R = inside_R & (ends_R | (place_R == length - 2))  # what is left after the last end is a sentence too
    sentence_R = jnp.where(inside_R, jnp.cumsum(ends_R) - ends_R, size)
    sentences = jnp.sum(ends_R)
    lengths_S = jnp.zeros(size, jnp.int32).at[sentence_R].add(1, mode="drop")
    moved_S = draw(which_key, place_R < sentences, jnp.asarray(counts)[sentences])
    # The n-th of the places that change gets the n-th of their sentences in random order.
    shuffled_S = random_order(order_key, size, moved_S)
    order_S = jnp.where(moved_S, shuffled_S[jnp.cumsum(moved_S) - 1], place_R)
    new_S = lengths_S[order_S]
    starts_S = jnp.zeros(size, jnp.int32).at[order_S].set(jnp.cumsum(new_S) - new_S)
    shift_S = starts_S - (jnp.cumsum(lengths_S) - lengths_S)
    to_R = jnp.where(inside_R, place_R + jnp.take(shift_S, sentence_R, mode="clip"), place_R)
    return jnp.zeros_like(tokens_R).at[to_R].set(tokens_R)


def span_lengths(key, budget, most, span_shares):
    """Draws lengths until they make up the budget; the last is cut to fit.

    Args:
        key: threefry key.
        budget: int32 scalar, words to hide, at most `most`.
        most: Python int.
        span_shares: f32 [n], see `poisson_shares`.

    Returns:
        lengths int32 [K], and which of them count, bool [K]; those of 0 words do.
    """
    draws_K = jax.random.uniform(key, (draws_needed(most, span_shares), 1))
    lengths_K = jnp.sum(draws_K >= jnp.asarray(span_shares)[:-1], axis=1)
    before_K = jnp.cumsum(lengths_K) - lengths_K
    return jnp.minimum(lengths_K, budget - before_K), before_K < budget


def infill(key, tokens_R, length, text_R, word_R, budget, *, most, span_shares, mask):
    """Hides spans of whole words, each of which becomes one mask, and inserts a mask for each span of no words.

    A span begins at a random word and ends before the next special token at the latest. Where one begins within
    another, they are hidden together and have one mask. Either way fewer words may be hidden than the budget says.
    Masks are inserted where there is room: the row never grows beyond R.

    Args:
        key: threefry key.
        tokens_R: int32 [R].
        length: tokens of the row.
        text_R: bool [R], tokens that may be hidden.
        word_R: bool [R], those of them that begin a word.
        budget: int32 scalar, words to hide, at most `most`.
        most: Python int.
        span_shares: f32 [n], see `poisson_shares`.
        mask: id of the mask.

    Returns:
        The row, int32 [R], and its new length.
    """
    lengths_key, start_key, insert_key = jax.random.split(key, 3)
    size = tokens_R.shape[0]
    lengths_K, used_K = span_lengths(lengths_key, budget, most, span_shares)
    spans_K = used_K & (lengths_K > 0)

    drawn_K = jnp.take(random_order(start_key, size, word_R), jnp.cumsum(spans_K) - 1, mode="clip")
    start_K = jnp.where(spans_K, drawn_K, size)
    starts_R = jnp.zeros(size, bool).at[start_K].set(True, mode="drop")
    # How many spans a word lies in, from where they begin and end. What is no text has numbers of its own, at which
    # spans end, and gives them to tokens behind it that begin no word.
    number_R = jnp.cumsum(word_R | ~text_R)
    stop_R = jax.lax.cummin(jnp.where(text_R, size, number_R), reverse=True)
    first_K, stop_K = (jnp.take(array_R, start_K, mode="clip") for array_R in (number_R, stop_R))
    steps = jnp.zeros(size + 1, jnp.int32)
    steps = steps.at[jnp.where(spans_K, first_K, size + 1)].add(1, mode="drop")
    steps = steps.at[jnp.where(spans_K, jnp.minimum(first_K + lengths_K, stop_K), size + 1)].add(-1, mode="drop")
    spans_R = jnp.cumsum(steps)[number_R]
    masks_R = starts_R & (spans_R == 1)
    tokens_R, length = keep(
        jnp.where(masks_R, mask, tokens_R), masks_R | (spans_R == 0) | ~text_R, length
    )  # fmt: skip
    return insert(insert_key, tokens_R, length, jnp.sum(used_K & (lengths_K == 0)), mask)


def insert(key, tokens_R, length, count, mask):
    """Inserts masks at random places within the frame, as many of `count` as there is room for.

    Returns:
        The row, int32 [R], and its new length.
    """
    size = tokens_R.shape[0]
    count = jnp.minimum(count, size - length)
    inserted_R = draw(key, inside(size, length + count), count)
    return jnp.where(inserted_R, mask, tokens_R[jnp.cumsum(~inserted_R) - 1]), length + count


def rotate(key, tokens_R, length, share):
    """Lets a share of rows begin at a token drawn from all of the row; what stood before it comes last."""
    whether_key, place_key = jax.random.split(key)
    size = tokens_R.shape[0]
    text = jnp.maximum(length - 2, 1)
    offset = jnp.where(jax.random.uniform(whether_key) < share, jax.random.randint(place_key, (), 0, text), 0)
    place_R = jnp.arange(size)
    turned_R = jnp.take(tokens_R, 1 + (place_R - 1 + offset) % text, mode="clip")
    return jnp.where(inside(size, length), turned_R, tokens_R)
