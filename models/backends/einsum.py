"""The reference: products, softmax and sums as they are written, with all scores in memory. It computes everything."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from cloze.models.backends.choice import BACKENDS, Backend
from cloze.models.dropout import dropout_mask

_KEPT = contextvars.ContextVar("kept", default=None)


@contextlib.contextmanager
def kept() -> Iterator[list]:
    """Gives a list to which every attention within adds its probabilities [B, H, T, S], in the order of computation.

    They are values where nothing is traced, as in a model whose layers are unrolled, under `jax.disable_jit`.
    """
    token = _KEPT.set([])
    try:
        yield _KEPT.get()
    finally:
        _KEPT.reset(token)


@BACKENDS.register("einsum")
class Einsum(Backend):
    """Scores of all queries and keys as one array, on any device."""

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key):
        """See Backend."""
        B, T, H, E = q_BTHE.shape
        S, K = k_BSKE.shape[1:3]
        G = H // K  # query heads that share a key head
        q_BTKGE = (q_BTHE * jnp.asarray(scale, q_BTHE.dtype)).reshape(B, T, K, G, E)
        scores_BKGTS = jnp.einsum("BTKGE,BSKE->BKGTS", q_BTKGE, k_BSKE, preferred_element_type=jnp.float32)
        if bias is not None:
            scores_BKGTS += bias.reshape(bias.shape[0], K, G, T, S)
        if softcap:
            scores_BKGTS = softcap * jnp.tanh(scores_BKGTS / softcap)
        mask = visibility.mask(T, S)
        if mask is not None:
            scores_BKGTS = jnp.where(mask[:, None, None], scores_BKGTS, jnp.finfo(jnp.float32).min)
        probs_BKGTS = jax.nn.softmax(scores_BKGTS, axis=-1).astype(v_BSKE.dtype)
        if (weights := _KEPT.get()) is not None:
            weights.append(probs_BKGTS.reshape(B, H, T, S))
        if dropout:
            probs_BKGTS = dropout_mask(key, dropout, probs_BKGTS)
        out_BTHE = jnp.einsum("BKGTS,BSKE->BTKGE", probs_BKGTS, v_BSKE).reshape(B, T, H, E)
        return visibility.zero_blind(out_BTHE, mask)
