"""Pallas kernels of attention with its rule, bias, soft cap and dropout, for TPUs and, by Triton, NVIDIA GPUs.

A program computes a block of queries, or in one half of the backward pass a block of keys, of one head, and goes
through all blocks on the other side that its rule lets it see. Shapes: C queries and R keys of a block; others as in
models.attention, with places filled up to whole blocks.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton

from cloze.models import random_bits

UNSEEN = -1e30  # below all scores, and finite: the difference of two is no NaN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What is static: models.inputs.Visibility's causal, strict and window, and the numbers of the scores.

    Attributes:
        softcap: 0, or what scores are bent towards.
        kept: of 2 ** 16 probabilities, how many dropout keeps; 0: there is none.
        queries, keys: lengths of rows, without what fills blocks.
        platform: tpu, gpu, or cpu, which interprets.
    """

    causal: bool
    strict: bool
    window: int
    softcap: float
    kept: int
    queries: int
    keys: int
    platform: str

    def keys_of(self, first, last, numpy=jnp):
        """(first, end) of the keys that queries `first` to `last` may see; `numpy` is np where these are numbers."""
        begin = numpy.maximum(first - self.window + 1, 0) if self.window else 0
        end = numpy.minimum(last + self.window, self.keys) if self.window else self.keys
        return begin, numpy.minimum(last + 1, end) if self.causal else end

    def queries_of(self, first, last):
        """(first, end) of the queries that may see keys `first` to `last`."""
        begin = jnp.maximum(first - self.window + 1, 0) if self.window else 0
        end = jnp.minimum(last + self.window, self.queries) if self.window else self.queries
        return (first, end) if self.causal else (begin, end)

    def pairs(self, sides):
        """Pairs of blocks whose scores are computed for a head."""
        (C, R), first = sides, np.arange(0, self.queries, sides[0])
        begin, end = self.keys_of(first, first + C - 1, np)
        return int(np.sum(np.broadcast_to(-(-end // R) - begin // R, first.shape)))


def _product(a, b, over_a, over_b):
    return jax.lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32)


def _scores(refs, rule, q_CE, k_RE, queries, keys):
    """(scores [C, R] f32, whether they are seen, d scores / d what is bent or None) of one block.

    Args:
        refs: {name: reference}.
        rule: Rule.
        q_CE, k_RE: queries, scaled, and keys.
        queries, keys: (first place, slice of the reference) of both.
    """
    (query, query_slice), (key, key_slice) = queries, keys
    shape = (q_CE.shape[0], k_RE.shape[0])
    scores = _product(q_CE, k_RE, 1, 1)
    if "bias" in refs:
        scores += refs["bias"][query_slice, key_slice]
    slope = None
    if rule.softcap:
        bent = jnp.tanh(scores / rule.softcap)
        scores, slope = rule.softcap * bent, 1 - bent * bent
    query_CR = query + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    key_CR = key + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    seen = (key_CR < rule.keys) & (query_CR < rule.queries)
    if "query_segments" in refs:
        seen &= refs["query_segments"][query_slice, :] == refs["key_segments"][:, key_slice]
    if "query_ranks" in refs:
        own, others = refs["query_ranks"][query_slice, :], refs["key_ranks"][:, key_slice]
        seen &= others < own if rule.strict else others <= own
    if rule.causal:
        seen &= key_CR <= query_CR
    if rule.window:
        seen &= (query_CR - key_CR < rule.window) & (key_CR - query_CR < rule.window)
    return scores, seen, slope


def _factors(refs, rule, row, head, query, key, shape):
    """What dropout multiplies probabilities [C, R] with: the bits of models.dropout.dropout_mask for [B, H, T, S]."""
    one, two, first_row, first_head = (refs["scalars"][0, i] for i in range(4))
    as_uint = lambda x: jnp.asarray(x).astype(jnp.uint32)  # noqa: E731
    queries = as_uint(query) + jax.lax.broadcasted_iota(jnp.uint32, shape, 0)
    keys = as_uint(key) + jax.lax.broadcasted_iota(jnp.uint32, shape, 1)
    place = ((as_uint(head) + first_head) * np.uint32(rule.queries) + queries) * np.uint32(rule.keys) + keys
    bits = random_bits.hashed(one, two, as_uint(row) + first_row, place) >> np.uint32(16)
    return jnp.where(bits.astype(jnp.int32) < rule.kept, np.float32(2**16 / rule.kept), np.float32(0))


def _forward_kernel(names, rule, sides, *all_refs):
    refs = dict(zip((*names, "out", "lse"), all_refs, strict=True))
    (C, R), row, head = sides, pl.program_id(0), pl.program_id(1)
    query = pl.program_id(2) * C
    q_CE = refs["q"][...]

    def block(j, carry):
        best_C1, total_C1, out_CE = carry
        key_slice = pl.ds(j * R, R)
        k_RE, v_RE = refs["k"][key_slice, :], refs["v"][key_slice, :]
        scores, seen, _ = _scores(refs, rule, q_CE, k_RE, (query, slice(None)), (j * R, key_slice))
        scores = jnp.where(seen, scores, UNSEEN)
        new_C1 = jnp.maximum(best_C1, scores.max(axis=1, keepdims=True))
        probs = jnp.where(seen, jnp.exp(scores - new_C1), 0.0)
        shrunk_C1 = jnp.exp(best_C1 - new_C1)
        total_C1 = total_C1 * shrunk_C1 + probs.sum(axis=1, keepdims=True)
        if rule.kept:
            probs *= _factors(refs, rule, row, head, query, j * R, probs.shape)
        out_CE = out_CE * shrunk_C1 + _product(probs.astype(v_RE.dtype), v_RE, 1, 0)
        return new_C1, total_C1, out_CE

    column = lambda value: jnp.full((C, 1), value, jnp.float32)  # noqa: E731
    begin, end = rule.keys_of(query, query + C - 1)
    start = column(UNSEEN), column(0.0), jnp.zeros(q_CE.shape, jnp.float32)
    best_C1, total_C1, out_CE = jax.lax.fori_loop(begin // R, pl.cdiv(end, R), block, start)
    some = total_C1 > 0.0  # a query that sees nothing gives nothing
    divisor_C1 = jnp.where(some, total_C1, 1.0)
    refs["out"][...] = (out_CE / divisor_C1).astype(refs["out"].dtype)
    refs["lse"][...] = jnp.where(some, best_C1 + jnp.log(divisor_C1), 0.0)


def _d_scores(refs, rule, row, head, q_CE, k_RE, v_RE, d_out_CE, queries, keys):
    """(probabilities after dropout, d scores, before their soft cap) of one block, f32 [C, R]."""
    scores, seen, slope = _scores(refs, rule, q_CE, k_RE, queries, keys)
    query_slice = queries[1]
    probs = jnp.where(seen, jnp.exp(jnp.where(seen, scores - refs["lse"][query_slice, :], UNSEEN)), 0.0)
    d_probs = _product(d_out_CE, v_RE, 1, 1)
    dropped = probs
    if rule.kept:
        factors = _factors(refs, rule, row, head, queries[0], keys[0], probs.shape)
        d_probs, dropped = d_probs * factors, probs * factors
    d_scores = probs * (d_probs - refs["delta"][query_slice, :])
    return dropped, d_scores if slope is None else d_scores * slope


def _query_kernel(order, names, rule, sides, *all_refs):
    """Gradients of a block of queries and, if there is one, of the bias. `order`: axes of the grid, see `_call`."""
    outputs = ("d_q", "d_bias") if "bias" in names else ("d_q",)
    refs = dict(zip((*names, *outputs), all_refs, strict=True))
    C, R = sides
    row, head, i = (pl.program_id(order.index(axis)) for axis in "BHN")
    query = i * C
    q_CE, d_out_CE = refs["q"][...], refs["d_out"][...]

    def block(j, d_q_CE):
        key_slice = pl.ds(j * R, R)
        k_RE, v_RE = refs["k"][key_slice, :], refs["v"][key_slice, :]
        places = (query, slice(None)), (j * R, key_slice)
        _, d_scores = _d_scores(refs, rule, row, head, q_CE, k_RE, v_RE, d_out_CE, *places)
        if "bias" in refs:
            earlier = 0.0
            if order == "HNB":  # rows come one after the other, and share the bias
                earlier = jnp.where(row == 0, 0.0, refs["d_bias"][:, key_slice])
            refs["d_bias"][:, key_slice] = (earlier + d_scores).astype(refs["d_bias"].dtype)
        return d_q_CE + _product(d_scores.astype(k_RE.dtype), k_RE, 1, 0)

    begin, end = rule.keys_of(query, query + C - 1)
    first, last = begin // R, pl.cdiv(end, R)
    if "bias" in refs:  # each of its blocks has to be written
        first, last = 0, refs["d_bias"].shape[1] // R
    d_q_CE = jax.lax.fori_loop(first, last, block, jnp.zeros(q_CE.shape, jnp.float32))
    refs["d_q"][...] = d_q_CE.astype(refs["d_q"].dtype)


def _key_kernel(names, rule, sides, *all_refs):
    """Gradients of a block of keys and values, from one query head."""
    refs = dict(zip((*names, "d_k", "d_v"), all_refs, strict=True))
    (C, R), row, head = sides, pl.program_id(0), pl.program_id(1)
    key = pl.program_id(2) * R
    k_RE, v_RE = refs["k"][...], refs["v"][...]

    def block(i, carry):
        d_k_RE, d_v_RE = carry
        query_slice = pl.ds(i * C, C)
        q_CE, d_out_CE = refs["q"][query_slice, :], refs["d_out"][query_slice, :]
        places = (i * C, query_slice), (key, slice(None))
        probs, d_scores = _d_scores(refs, rule, row, head, q_CE, k_RE, v_RE, d_out_CE, *places)
        d_v_RE += _product(probs.astype(d_out_CE.dtype), d_out_CE, 0, 0)
        return d_k_RE + _product(d_scores.astype(q_CE.dtype), q_CE, 0, 0), d_v_RE

    begin, end = rule.queries_of(key, key + R - 1)
    zeros = jnp.zeros(k_RE.shape, jnp.float32)
    d_k_RE, d_v_RE = jax.lax.fori_loop(begin // C, pl.cdiv(end, C), block, (zeros, zeros))
    refs["d_k"][...] = d_k_RE.astype(refs["d_k"].dtype)
    refs["d_v"][...] = d_v_RE.astype(refs["d_v"].dtype)


def _in_spec(name, inputs, sides, of_queries, order):
    """The part of an input that a program reads: a block of its own side, queries or keys; all of the other side.

    Args:
        name, inputs: of `forward` or `backward`.
        sides: (C, R).
        of_queries: whether programs have blocks of queries; otherwise of keys.
        order: axes of the grid, see `_call`.
    """
    B, H, N = (order.index(axis) for axis in "BHN")
    if name == "scalars":
        return None
    if name == "bias":
        shared, shape, (C, R) = inputs[name].shape[0] == 1, inputs[name].shape, sides
        row = (lambda g: 0) if shared else (lambda g: g[B])
        if of_queries:
            return pl.BlockSpec((None, None, C, shape[3]), lambda *g: (row(g), g[H], g[N], 0))
        return pl.BlockSpec((None, None, shape[2], R), lambda *g: (row(g), g[H], 0, g[N]))
    queries = name not in ("k", "v", "key_segments", "key_ranks")
    size = sides[0 if queries else 1] if queries == of_queries else inputs["q" if queries else "k"].shape[2]
    place = (lambda g: g[N]) if queries == of_queries else (lambda g: 0)
    if name in ("query_segments", "query_ranks"):
        return pl.BlockSpec((None, size, 1), lambda *g: (g[B], place(g), 0))
    if name in ("key_segments", "key_ranks"):
        return pl.BlockSpec((None, 1, size), lambda *g: (g[B], 0, place(g)))
    share = inputs["q"].shape[1] // inputs[name].shape[1]  # query heads of a key head
    return pl.BlockSpec((None, None, size, inputs[name].shape[3]), lambda *g: (g[B], g[H] // share, place(g), 0))


def _call(kernel, inputs, rule, sides, of_queries, outputs, products, order="BHN"):
    """Runs a kernel over rows, heads and blocks.

    Args:
        kernel: of (names of inputs, rule, sides, references).
        inputs, rule, sides, of_queries: as above.
        outputs: [(shape, dtype, block, index map)].
        products: how many of them the kernel computes for a pair of blocks.
        order: axes of the grid, the last one innermost: B rows, H query heads, N blocks.
    """
    B, H, T = inputs["q"].shape[:3]
    sizes = {"B": B, "H": H, "N": T // sides[0] if of_queries else inputs["k"].shape[2] // sides[1]}
    specs = [_in_spec(name, inputs, sides, of_queries, order) for name in inputs]
    params, words = None, pl.BlockSpec(memory_space=pltpu.SMEM)
    if rule.platform == "gpu":
        params, words = triton.CompilerParams(num_warps=4, num_stages=2), pl.BlockSpec((1, 4), lambda *g: (0, 0))
    if rule.platform == "tpu":
        params = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))
    pairs = B * H * rule.pairs(sides)
    cost = pl.CostEstimate(  # read by XLA's scheduler and by parallel.cost
        flops=2 * products * pairs * sides[0] * sides[1] * inputs["q"].shape[3],
        transcendentals=pairs * sides[0] * sides[1],
        bytes_accessed=sum(x.size * x.dtype.itemsize for x in inputs.values()),
    )
    return pl.pallas_call(
        functools.partial(kernel, tuple(inputs), rule, sides),
        grid=tuple(sizes[axis] for axis in order),
        in_specs=[words if spec is None else spec for spec in specs],
        out_specs=[pl.BlockSpec(block, index) for _, _, block, index in outputs],
        out_shape=[jax.ShapeDtypeStruct(shape, dtype) for shape, dtype, _, _ in outputs],
        interpret=rule.platform == "cpu",
        compiler_params=params,
        cost_estimate=cost,
        name="attention_of_" + ("queries" if of_queries else "keys"),
    )(*inputs.values())


def forward(inputs, rule, sides):
    """Output [B, H, T, E] and, f32 [B, H, T], the logarithm of the sum of the exponentials of each query's scores.

    Args:
        inputs: {"q": [B, H, T, E], scaled, "k", "v": [B, K, S, E]} and, where there are any, "bias" f32 [1 or B, H, T,
            S]; "query_segments", "query_ranks" int32 [B, T, 1]; "key_segments", "key_ranks" int32 [B, 1, S];
            "scalars" uint32 [1, 4], the words of a key and the numbers of the first row and head.
        rule: Rule.
        sides: (C, R), which divide T and S.
    """
    q, C = inputs["q"], sides[0]
    outputs = [
        (q.shape, q.dtype, (None, None, C, q.shape[3]), lambda b, h, i: (b, h, i, 0)),
        ((*q.shape[:3], 1), jnp.float32, (None, None, C, 1), lambda b, h, i: (b, h, i, 0)),
    ]
    out_BHTE, lse_BHT1 = _call(_forward_kernel, inputs, rule, sides, True, outputs, 2)
    return out_BHTE, lse_BHT1[..., 0]


def backward(inputs, rule, sides):
    """Gradients {"q", "k", "v" and, if there is one, "bias"}, like these.

    Args:
        inputs: as of `forward`, with "d_out" [B, H, T, E] and, f32 [B, H, T, 1], "lse" of `forward` and "delta", the
            product of the output with its gradient.
        rule, sides: as there.
    """
    (q, k), (C, R) = (inputs["q"], inputs["k"]), sides
    (B, H, T, E), (K, S) = q.shape, k.shape[1:3]
    # On a TPU the rows of a grid can add up what they share, one after the other; on a GPU they run side by side.
    adds_up = "bias" in inputs and inputs["bias"].shape[0] == 1 and rule.platform != "gpu"
    order = "HNB" if adds_up else "BHN"
    at_b, at_h, at_n = (order.index(axis) for axis in "BHN")
    outputs = [(q.shape, q.dtype, (None, None, C, E), lambda *g: (g[at_b], g[at_h], g[at_n], 0))]
    if "bias" in inputs:
        row = (lambda g: 0) if adds_up else (lambda g: g[at_b])
        shape = (1 if adds_up else B, H, T, S)
        outputs.append((shape, jnp.float32, (None, None, C, S), lambda *g: (row(g), g[at_h], g[at_n], 0)))
    kernel = functools.partial(_query_kernel, order)
    gradients = dict(zip(("q", "bias"), _call(kernel, inputs, rule, sides, True, outputs, 3, order), strict=False))
    if "bias" in inputs and len(gradients["bias"]) > len(inputs["bias"]):
        gradients["bias"] = gradients["bias"].sum(0, keepdims=True)
    kind = k.dtype if H == K else jnp.float32  # what query heads of a key head give is added up
    output = (B, H, S, E), kind, (None, None, R, E), lambda b, h, i: (b, h, i, 0)
    both = _call(_key_kernel, inputs, rule, sides, False, [output, output], 4)
    for name, x_BHSE in zip("kv", both, strict=True):
        gradients[name] = x_BHSE.reshape(B, K, -1, S, E).sum(2).astype(k.dtype)
    return gradients


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def attend(inputs, rule, sides):
    """Output [B, H, T, E] with gradients; arguments are those of `forward`."""
    return forward(inputs, rule, sides)[0]


def _forward_rule(inputs, rule, sides):
    out_BHTE, lse_BHT = forward(inputs, rule, sides)
    return out_BHTE, (inputs, out_BHTE, lse_BHT)


def _backward_rule(rule, sides, kept, d_out_BHTE):
    inputs, out_BHTE, lse_BHT = kept
    delta_BHT = jnp.sum(d_out_BHTE.astype(jnp.float32) * out_BHTE.astype(jnp.float32), -1)
    more = {"d_out": d_out_BHTE, "lse": lse_BHT[..., None], "delta": delta_BHT[..., None]}
    gradients = backward({**inputs, **more}, rule, sides)
    return ({name: gradients.get(name) for name in inputs},)  # None for integers


attend.defvjp(_forward_rule, _backward_rule)
