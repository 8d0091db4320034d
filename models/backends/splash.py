"""JAX's splash attention for TPUs: whole, causal and local rows, packed or padded, with a soft cap if there is one."""

import functools

import jax
import jax.numpy as jnp

from cloze.models.backends.choice import BACKENDS, BLOCK, Backend, devices, uneven
from cloze.models.backends.sharded import arrays_of, on_each_device

LARGEST = 512  # places of a block
NO_SEGMENT = -1  # of the places that fill a row's last block


@BACKENDS.register("splash")
class Splash(Backend):
    """The library's kernel, in blocks of up to 512 places; rows are filled up to whole blocks."""

    platforms = ("tpu",)
    interpreted = True

    def cannot(self, case):
        """See Backend."""
        if case.dropout:
            return "has no attention dropout"
        if case.bias_rows:
            return "has no bias on scores"
        if case.ranks or case.strict:
            return "has no ranks"
        if case.prefix:
            return "has no keys in front of a row"
        return uneven(case)

    def slow(self, case):
        """See Backend."""
        return f"needs {BLOCK} keys to fill a block, got {case.keys}" if case.keys < BLOCK else None

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key):
        """See Backend."""
        B, T, S = *q_BTHE.shape[:2], k_BSKE.shape[1]
        arrays = {"q": q_BTHE * jnp.asarray(scale, q_BTHE.dtype), "k": k_BSKE, "v": v_BSKE, **arrays_of(visibility, B)}
        if "query_segments" not in arrays and -S % BLOCK:  # so that nothing sees what fills the last block
            arrays["query_segments"], arrays["key_segments"] = jnp.zeros((B, T), int), jnp.zeros((B, S), int)
        run = functools.partial(_run, causal=visibility.causal, window=visibility.window, softcap=softcap)
        out_BTHE = on_each_device(lambda arrays, first_row, first_head: run(arrays), arrays)
        return visibility.zero_blind(out_BTHE, visibility.mask(T, S) if visibility.may_see_nothing else None)


def _run(arrays, causal, window, softcap):
    """Splash attention of one device's rows and heads."""
    from jax.experimental.pallas.ops.tpu import splash_attention as library  # takes 0.8 s: only where it runs

    _, T, H, _ = arrays["q"].shape
    filled = {name: array for name, array in arrays.items() if name in ("q", "k", "v")}
    filled = {n: jnp.pad(x, ((0, 0), (0, -x.shape[1] % BLOCK), (0, 0), (0, 0))) for n, x in filled.items()}
    q_BHTE, k_BKSE, v_BKSE = (filled[name].swapaxes(1, 2) for name in ("q", "k", "v"))
    T_filled, S_filled = q_BHTE.shape[2], k_BKSE.shape[2]
    segments = None
    if "query_segments" in arrays:
        both = (arrays["query_segments"], T_filled - T), (arrays["key_segments"], S_filled - arrays["k"].shape[1])
        both = (jnp.pad(x, ((0, 0), (0, more)), constant_values=NO_SEGMENT) for x, more in both)
        segments = library.SegmentIds(*both)
    kernel = library.make_splash_mha(
        library.MultiHeadMask([_mask(library, (T_filled, S_filled), causal, window)] * H),
        block_sizes=_blocks(library, T_filled, S_filled),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap or None,
        interpret=devices()[0] == "cpu",
    )
    out_BHTE = jax.vmap(kernel)(q_BHTE, k_BKSE, v_BKSE, segments)
    return out_BHTE.swapaxes(1, 2)[:, :T]


def _mask(library, shape, causal, window):
    """The library's mask for a rule over places."""
    if window:
        return library.LocalMask(shape, (window - 1, 0 if causal else window - 1), 0)
    return library.CausalMask(shape) if causal else library.FullMask(shape)


def _blocks(library, queries, keys):
    """The largest blocks that divide the lengths. One kernel gives the gradients of keys and values, one of queries."""
    q, kv = (next(size for size in (LARGEST, 256, BLOCK) if n % size == 0) for n in (queries, keys))
    return library.BlockSizes(
        block_q=q, block_kv=kv, block_kv_compute=kv, block_q_dkv=q, block_kv_dkv=kv, block_kv_dkv_compute=kv,
        block_q_dq=q, block_kv_dq=kv,
    )  # fmt: skip
