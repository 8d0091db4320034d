"""What a masked language model would put into the blanks of a text."""

import jax
import jax.numpy as jnp
import numpy as np


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
    tokens = np.zeros((1, length), np.int32)
    tokens[0, : len(ids)] = ids
    segments = (np.arange(length)[None] < len(ids)).astype(np.int32)
    batch = {"tokens": tokens, "segments": segments}
    logits = jax.jit(model.apply)({"params": params}, batch).logits[0, blanks]
    allowed = np.zeros(logits.shape[-1], bool)
    allowed[: len(is_text)] = is_text
    probabilities = jax.nn.softmax(jnp.where(allowed, logits, -jnp.inf))
    best, places = jax.lax.top_k(probabilities, min(count, int(allowed.sum())))
    return [
        list(zip(map(int, i), map(float, p), strict=True))
        for i, p in zip(np.asarray(places), np.asarray(best), strict=True)
    ]
