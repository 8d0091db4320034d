"""The reference: products, softmax and sums as they are written, with all scores in memory. It computes everything."""

import jax
import jax.numpy as jnp

from cloze.models.backends.choice import BACKENDS, Backend
from cloze.models.dropout import dropout_mask


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
        if dropout:
            probs_BKGTS = dropout_mask(key, dropout, probs_BKGTS)
        out_BTHE = jnp.einsum("BKGTS,BSKE->BTKGE", probs_BKGTS, v_BSKE).reshape(B, T, H, E)
        return visibility.zero_blind(out_BTHE, mask)
