"""Attention over grouped key/value heads, with interchangeable backends behind one function.

Shapes: B rows, T queries, S keys, H query heads, K key/value heads (H is a multiple of K), E head size.
"""

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.dropout import dropout_mask


def attention(
    q_BTHE, k_BSKE, v_BSKE, visibility, *, bias=None, scale, softcap=0.0, dropout=0.0, key=None, backend="auto"
):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    Args:
        q_BTHE, k_BSKE, v_BSKE: queries, keys, values in the compute dtype.
        visibility: models.inputs.Visibility.
        bias: f32 [1 or B, H, T, S] added to the scores, or None.
        scale: factor on the scores; T5 has 1.
        softcap: scores become softcap * tanh(scores / softcap), where positive; needs the einsum backend.
        dropout: rate on the attention probabilities; needs `key`, and the einsum backend.
        key: random key for dropout.
        backend: "einsum" is the reference; "xla" and "cudnn" are jax.nn.dot_product_attention; "auto" chooses.

    Returns:
        [B, T, H, E] in the dtype of the queries. A query that sees no key gets zeros.
    """
    dropout = dropout if key is not None else 0.0
    if backend == "auto":
        backend = "einsum" if dropout or softcap else _choose(q_BTHE, visibility, bias)
    if backend == "einsum":
        return _einsum(q_BTHE, k_BSKE, v_BSKE, visibility, bias, scale, softcap, dropout, key)
    return _dot_product(q_BTHE, k_BSKE, v_BSKE, visibility, bias, scale, backend)


def _choose(q_BTHE, visibility, bias):
    """The fastest backend that computes the right thing here."""
    head_dim = q_BTHE.shape[-1]
    fused = (
        jax.default_backend() == "gpu"
        and q_BTHE.dtype in (jnp.bfloat16, jnp.float16)
        and head_dim % 8 == 0
        and head_dim <= 128
        and q_BTHE.shape[1] > 1  # one query a row is bound by reading keys and values, however they are multiplied
        and (visibility.sees_all or visibility.is_causal)  # a mask array loses the fast path
        # cuDNN differentiates a bias only if rows share it and lengths are even.
        and (bias is None or (bias.shape[0] == 1 and bias.shape[2] % 2 == bias.shape[3] % 2 == 0))
    )
    return "cudnn" if fused else "einsum"


def _einsum(q_BTHE, k_BSKE, v_BSKE, visibility, bias, scale, softcap, dropout, key):
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
    return _zero_blind(out_BTHE, visibility, mask)


def _dot_product(q_BTHE, k_BSKE, v_BSKE, visibility, bias, scale, backend):
    if backend == "cudnn" and jax.default_backend() != "gpu":
        raise ConfigError(
            f"model.attention_backend=cudnn needs an NVIDIA GPU, here are devices of kind {jax.default_backend()}: set "
            "model.attention_backend=auto"
        )
    T, S = q_BTHE.shape[1], k_BSKE.shape[1]
    mask = None if visibility.is_causal else visibility.mask(T, S)
    out_BTHE = jax.nn.dot_product_attention(
        q_BTHE,
        k_BSKE,
        v_BSKE,
        bias=None if bias is None else bias.astype(q_BTHE.dtype),
        mask=None if mask is None else mask[:, None],
        scale=scale,
        is_causal=visibility.is_causal,
        implementation=backend,
    )
    return _zero_blind(out_BTHE, visibility, mask)


def _zero_blind(out_BTHE, visibility, mask):
    """Softmax over nothing visible is the mean of all values; the answer is nothing."""
    if mask is None or not visibility.may_see_nothing:
        return out_BTHE
    return jnp.where(mask.any(axis=-1)[:, :, None, None], out_BTHE, 0)
