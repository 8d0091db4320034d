"""A Pallas kernel of our own for what libraries' kernels refuse: dropout, biases with gradients, ranks, windows.

The algorithm is FlashAttention's (Dao 2023, algorithms 1 and 2): scores exist one block at a time and are made again in
the backward pass. The kernels are in models/flash_kernels.py; here is what is around them.
"""

import functools

import jax.numpy as jnp

from cloze.models import random_bits
from cloze.models.backends.choice import BACKENDS, BLOCK, Backend, devices, uneven
from cloze.models.backends.sharded import arrays_of, on_each_device
from cloze.models.dropout import kept_of

VMEM = 12 * 2**20  # bytes of a TPU core's fast memory, of 16 MiB that a kernel may use, for a head's keys and values
SIDES = {"tpu": (512, 256, BLOCK), "gpu": (64,), "cpu": (BLOCK,)}  # places of a block, the largest that fits first


@BACKENDS.register("flash")
class Flash(Backend):
    """Everything but keys in front of a row. Dropout is the reference's to the bit, from the generator `counter`."""

    platforms = ("tpu", "gpu")
    interpreted = True

    def cannot(self, case):
        """See Backend."""
        if case.dropout and not case.counted:
            return "makes dropout's bits by train.dropout_generator=counter only"
        if case.prefix:
            return "has no keys in front of a row"
        if case.capability and case.capability < (8, 0):
            return "needs compute capability 8.0"
        if case.head_dim > 256:
            return f"needs heads of at most 256, got {case.head_dim}"
        if case.platform == "tpu" and _fast_memory(case) > VMEM:
            return f"has no room for {case.keys} keys in a core's fast memory"
        return uneven(case)

    def slow(self, case):
        """See Backend."""
        return f"needs {BLOCK} keys to fill a block, got {case.keys}" if case.keys < BLOCK else None

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key, side=None):
        """See Backend. `side`: places of a block; None: the largest that fits."""
        from cloze.models import flash_kernels as kernels  # Pallas takes 0.8 s to import: only where it runs

        arrays = {"q": q_BTHE * jnp.asarray(scale, q_BTHE.dtype), "k": k_BSKE, "v": v_BSKE}
        arrays |= arrays_of(visibility, q_BTHE.shape[0])
        arrays |= {} if bias is None else {"bias": bias.astype(jnp.float32)}
        arrays |= {"words": random_bits.words(key)} if dropout else {}
        rule = kernels.Rule(
            causal=visibility.causal and visibility.query_ranks is None,
            strict=visibility.strict,
            window=visibility.window,
            softcap=softcap,
            kept=kept_of(dropout) if dropout else 0,
            queries=q_BTHE.shape[1],
            keys=k_BSKE.shape[1],
            platform=devices()[0],
        )
        return on_each_device(functools.partial(_run, attend=kernels.attend, rule=rule, side=side), arrays)


def _fast_memory(case):
    """Bytes that hold the keys, values and, in the backward pass, queries and gradients of a head, each twice."""
    width = max(case.head_dim, 128)
    size = 2 if case.dtype == "bfloat16" else 4
    bias = 512 * case.keys * 4 * bool(case.bias_rows) * 2
    return 4 * max(case.keys, case.queries) * width * size + bias


def _run(arrays, first_row, first_head, attend, rule, side):
    """Attention of one device's rows and heads: fills the last blocks, and calls the kernel.

    What fills a row needs no mask of its own: kernels leave out places beyond the rule's lengths.
    """
    T, E = rule.queries, arrays["q"].shape[3]
    sides = [side] if side else SIDES[rule.platform]
    T_side, S_side = (_side(length, sides) for length in (rule.queries, rule.keys))
    T_more, S_more = -rule.queries % T_side, -rule.keys % S_side
    E_more = (max(16, 1 << (E - 1).bit_length()) - E) if rule.platform == "gpu" else 0  # Triton: powers of 2
    wide = {name: arrays[name].swapaxes(1, 2) for name in ("q", "k", "v")}
    more = {"q": T_more, "k": S_more, "v": S_more}
    inputs = {n: jnp.pad(x, ((0, 0), (0, 0), (0, more[n]), (0, E_more))) for n, x in wide.items()}
    if "bias" in arrays:
        inputs["bias"] = jnp.pad(arrays["bias"], ((0, 0), (0, 0), (0, T_more), (0, S_more)))
    for name in ("query_segments", "query_ranks"):  # columns
        if name in arrays:
            inputs[name] = jnp.pad(arrays[name], ((0, 0), (0, T_more)))[:, :, None]
    for name in ("key_segments", "key_ranks"):  # rows
        if name in arrays:
            inputs[name] = jnp.pad(arrays[name], ((0, 0), (0, S_more)))[:, None, :]
    if "words" in arrays:
        first = jnp.stack([jnp.asarray(n, jnp.uint32) for n in (first_row, first_head)])
        inputs["scalars"] = jnp.concatenate([arrays["words"], first])[None]
    out_BHTE = attend(inputs, rule, (T_side, S_side))
    return out_BHTE[:, :, :T, :E].swapaxes(1, 2)


def _side(length, sides):
    """The largest block that does not add to what the smallest one fills up."""
    filled = -(-length // sides[-1]) * sides[-1]
    return next(side for side in sides if filled % side == 0)
