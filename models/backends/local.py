"""Windows in plain XLA, on any device: a block of queries meets the blocks of keys beside it and no others.

Shapes: N blocks of a row, C places of a block, R keys that a block of queries meets; others as in models.attention.
"""

import jax
import jax.numpy as jnp

from cloze.models.backends.choice import BACKENDS, Backend
from cloze.models.dropout import dropout_mask


@BACKENDS.register("local")
class Local(Backend):
    """Scores of [T, 3 C] in place of [T, T]; [T, 2 C] where rows are causal (Beltagy et al. 2020, section 3.1).

    Dropout is drawn over these scores: as likely as the reference's, with other bits.
    """

    def concerns(self, case):
        """See Backend."""
        return case.window > 0

    def cannot(self, case):
        """See Backend."""
        if case.bias_rows:
            return "has no bias on scores"
        if case.prefix or case.queries != case.keys:
            return "needs a row's own keys and no others"
        return "does not run on rows cut along mesh.sequence" if case.length_cuts > 1 else None

    def slow(self, case):
        """See Backend."""
        seen = (2 if case.causal else 3) * block(case.window)
        return f"meets {seen} keys a query, more than half of {case.keys}" if 2 * seen > case.keys else None

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key):
        """See Backend."""
        B, T, H, E = q_BTHE.shape
        K, C = k_BSKE.shape[2], block(visibility.window)
        back, ahead = 1, 0 if visibility.causal and visibility.query_ranks is None else 1

        def blocks(x):  # [B, N, C, ...]
            x = jnp.pad(x, ((0, 0), (0, -T % C), *((0, 0),) * (x.ndim - 2)))
            return x.reshape(x.shape[0], -1, C, *x.shape[2:])

        def met(x):  # [B, N, R, ...]
            x, N = blocks(x), -(-T // C)
            x = jnp.pad(x, ((0, 0), (back, ahead), *((0, 0),) * (x.ndim - 2)))
            return jnp.concatenate([x[:, i : i + N] for i in range(1 + back + ahead)], axis=2)

        q_BNCKGE = blocks(q_BTHE * jnp.asarray(scale, q_BTHE.dtype)).reshape(B, -1, C, K, H // K, E)
        k_BNRKE, v_BNRKE = met(k_BSKE), met(v_BSKE)
        scores = jnp.einsum("BNCKGE,BNRKE->BNKGCR", q_BNCKGE, k_BNRKE, preferred_element_type=jnp.float32)
        if softcap:
            scores = softcap * jnp.tanh(scores / softcap)
        mask_BNCR = _mask(visibility, T, C, blocks, met, back)
        scores = jnp.where(mask_BNCR[:, :, None, None], scores, jnp.finfo(jnp.float32).min)
        probs = jax.nn.softmax(scores, axis=-1).astype(v_BSKE.dtype)
        if dropout:
            probs = dropout_mask(key, dropout, probs)
        out_BNCKGE = jnp.einsum("BNKGCR,BNRKE->BNCKGE", probs, v_BNRKE)
        if visibility.may_see_nothing:
            out_BNCKGE = jnp.where(mask_BNCR.any(-1)[..., None, None, None], out_BNCKGE, 0)
        return out_BNCKGE.reshape(B, -1, H, E)[:, :T]


def block(window):
    """C: the places before (or after) a query that it sees, in whole vectors of 8."""
    return max(8, -(-(window - 1) // 8) * 8)


def _mask(visibility, T, C, blocks, met, back):
    """bool [B or 1, N, C, R], as models.inputs.Visibility.mask has it."""
    N = -(-T // C)
    queries_NC1 = jnp.arange(N * C).reshape(N, C, 1)
    R = met(jnp.zeros((1, T), bool)).shape[2]
    keys_N1R = (jnp.arange(N)[:, None] * C - back * C + jnp.arange(R))[:, None]
    mask = (abs(queries_NC1 - keys_N1R) < visibility.window) & (keys_N1R >= 0) & (keys_N1R < T)
    mask = mask[None]
    if visibility.query_segments is not None:
        own, others = blocks(visibility.query_segments), met(visibility.key_segments)
        mask &= own[..., None] == others[:, :, None]
    if visibility.query_ranks is not None:
        own, others = blocks(visibility.query_ranks)[..., None], met(visibility.key_ranks)[:, :, None]
        mask &= others < own if visibility.strict else others <= own
    elif visibility.causal:
        mask &= (keys_N1R <= queries_NC1)[None]
    return mask
