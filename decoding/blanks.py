"""What a masked language model would put into the blanks of a text, each for itself or all together.

Shapes: R rows that are run at once, T places of a row, V vocabulary.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cloze.decoding.devices import to_host

ROWS = 8  # that are run at once
MOST_SHAPES = 64  # combinations of numbers of pieces that are tried


class Filled(NamedTuple):
    """One way to fill all blanks.

    Attributes:
        ids: int32 [T], the text.
        pieces: a tuple of ids for each blank.
        score: mean log-probability of the pieces in nats, each given all others.
    """

    ids: np.ndarray
    pieces: tuple[tuple[int, ...], ...]
    score: float


def fill(model, params, ids, blanks, is_text, *, length, count):
    """The most probable pieces for each blank, the others being left blank.

    Args:
        model: with the head "mlm".
        params: its parameters.
        ids: int [T], a text with its special tokens.
        blanks: int [n], the places of its blanks.
        is_text: bool [V], which ids may be put in: neither special tokens nor ids without a piece.
        length: tokens of the row that is run, T at least.
        count: pieces for a blank at most.

    Returns:
        For each blank, [(id, probability among ids that are text)], the most probable first.
    """
    runs = _Runs(model, params, is_text, length)
    (log_probs,) = runs([ids], np.asarray(blanks)[None])
    best = np.argsort(-log_probs, axis=-1, kind="stable")[:, : min(count, int(is_text.sum()))]
    return [[(int(i), float(np.exp(row[i]))) for i in some] for row, some in zip(log_probs, best, strict=True)]


def fill_together(model, params, ids, blanks, is_text, *, mask, length, count, most_pieces=1):
    """The best ways to fill all blanks at once, each of one to `most_pieces` pieces.

    Blanks are filled from left to right, each given those before it, by a beam search of `count` texts for each
    combination of numbers of pieces. What it finds is ranked by pseudo-log-likelihood (Salazar et al. 2020, section 2):
    each piece is blanked once and scored given all others. The mean over pieces lets numbers of pieces compare.

    Args:
        as of `fill`, and
        mask: the id of a blank.
        most_pieces: pieces of a blank at most; `most_pieces` to the power of the blanks at most `MOST_SHAPES`.

    Returns:
        [Filled], the best first, at most `count`.
    """
    runs, found = _Runs(model, params, is_text, length), {}
    for sizes in itertools.product(range(1, most_pieces + 1), repeat=len(blanks)):
        size_at = dict(zip(blanks.tolist(), sizes, strict=True))
        text = np.repeat(ids, [size_at.get(place, 1) for place in range(len(ids))])
        if len(text) <= length:
            places = _places(blanks, sizes)
            found |= {(sizes, row.tobytes()): (row, places) for row in _search(runs, text, places, count)}
    made = []
    for (sizes, _), (row, places) in found.items():
        blanked = np.repeat(row[None], len(places), axis=0)
        blanked[np.arange(len(places)), places] = mask
        score = runs(blanked, places[:, None])[np.arange(len(places)), 0, row[places]].mean()
        pieces = iter(row[places].tolist())
        made.append(Filled(row, tuple(tuple(itertools.islice(pieces, size)) for size in sizes), float(score)))
    return sorted(made, key=lambda one: -one.score)[:count]


def _places(blanks, sizes):
    """int [n], the places of all pieces where blanks have so many."""
    shifts = np.cumsum(sizes) - sizes - np.arange(len(sizes))
    return np.concatenate([b + shift + np.arange(size) for b, shift, size in zip(blanks, shifts, sizes, strict=True)])


def _search(runs, text, places, count):
    """[int32 [T]], texts with pieces at the places, the most probable first when filled from left to right."""
    rows, scores = text[None], np.zeros(1)
    for place in places:
        log_probs = runs(rows, np.full((len(rows), 1), place))[:, 0] + scores[:, None]
        best = np.argsort(-log_probs, axis=None, kind="stable")[:count]
        best = best[np.isfinite(log_probs.reshape(-1)[best])]
        of, pieces = np.unravel_index(best, log_probs.shape)
        rows, scores = rows[of], log_probs[of, pieces]
        rows[:, place] = pieces
    return rows


@functools.partial(jax.jit, static_argnames="model")
def _log_probs(model, params, tokens_RT, segments_RT, places_RP, is_text_V):
    """f32 [R, P, V], of pieces at places; compiled once for all prompts."""
    logits_RTV = model.apply({"params": params}, {"tokens": tokens_RT, "segments": segments_RT}).logits
    logits_RPV = jax.vmap(lambda logits_TV, places_P: logits_TV[places_P])(logits_RTV, places_RP)
    logits_RPV = logits_RPV[..., : len(is_text_V)]  # of the model's spare rows nothing
    return jax.nn.log_softmax(jnp.where(is_text_V, logits_RPV, -jnp.inf))


class _Runs:
    """Log-probabilities of pieces at places [n, P] of each of n texts, f32 [n, P, V], over ids that are text."""

    def __init__(self, model, params, is_text, length):
        self._model, self._params, self._is_text, self._length = model, params, is_text, length

    def __call__(self, texts, places):
        found, size = [], 1 if len(texts) == 1 else ROWS
        for first in range(0, len(texts), size):
            some = texts[first : first + size]
            tokens, sizes = np.zeros((size, self._length), np.int32), np.zeros((size, 1), np.int32)
            at = np.zeros((size, places.shape[1]), np.int32)
            for row, text in enumerate(some):
                tokens[row, : len(text)], sizes[row], at[row] = text, len(text), places[first + row]
            segments = (np.arange(self._length) < sizes).astype(np.int32)
            scores = _log_probs(self._model, self._params, tokens, segments, at, self._is_text)
            found.append(to_host(scores)[: len(some)])
        return np.concatenate(found)
