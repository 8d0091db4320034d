"""Every backend against the reference: outputs, gradients, dropout's bits, and no leak between packed documents.

Kernels run in Pallas' interpreter, in f32: what differs is the order in which sums are taken.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.models import random_bits
from cloze.models.attention import attention
from cloze.models.backends.choice import BACKENDS
from cloze.models.inputs import Visibility
from cloze.parallel import mesh as meshes

B, T, H, K, E = 4, 40, 4, 2, 8
RNG = np.random.default_rng(0)
SEGMENTS = np.sort(RNG.integers(1, 4, (B, T)))
SEGMENTS[:, -3:] = 0
RANKS = np.argsort(RNG.random((B, T)))
DROPOUT = dict(dropout=0.3, key=random_bits.key(3, "counter"))
TOLERANCE = 3e-6  # of the largest number


def visibility(segments=True, ranks=False, **fields):
    s = jnp.asarray(SEGMENTS, jnp.int32) if segments else None
    r = jnp.asarray(RANKS, jnp.int32) if ranks else None
    return Visibility(query_segments=s, key_segments=s, query_ranks=r, key_ranks=r, **fields)


def arrays(bias_rows=0, length=T):
    draw = lambda *shape: jnp.asarray(np.random.default_rng(7).normal(size=shape), jnp.float32)  # noqa: E731
    made = {"q": draw(B, length, H, E), "k": draw(B, length, K, E), "v": draw(B, length, K, E) + 1}
    return {**made, "bias": draw(bias_rows, H, length, length)} if bias_rows else made


def run(backend, seen, **options):
    """A jitted function of arrays: (output, gradients)."""
    settings = {"scale": 0.4, "softcap": 0.0, "dropout": 0.0, "key": None, **options}

    def loss(given):
        compute = BACKENDS[backend]().compute
        out = compute(given["q"], given["k"], given["v"], seen, bias=given.get("bias"), **settings)
        return jnp.sum(jnp.sin(out) * jnp.arange(1.0, E + 1)), out

    return jax.jit(lambda given: jax.value_and_grad(loss, has_aux=True)(given))


def assert_equal_numbers(results, expected):
    (_, out), gradients = results
    (_, reference), reference_gradients = expected
    for name, got, wanted in (("out", out, reference), *((n, gradients[n], reference_gradients[n]) for n in gradients)):
        np.testing.assert_allclose(got, wanted, atol=TOLERANCE * float(abs(wanted).max()), err_msg=name)


def assert_no_leak(function, given, out):
    """What stands elsewhere is changed: the second document's output stays, to the bit."""
    second = SEGMENTS == 2
    changed = {n: jnp.where(second[:, :, None, None], x, x * 5 + 1) for n, x in given.items() if n != "bias"}
    (_, after), _ = function({**given, **changed})
    np.testing.assert_array_equal(np.asarray(after)[second], np.asarray(out)[second])
    assert not np.array_equal(np.asarray(after)[~second], np.asarray(out)[~second])


flash = functools.partial(run, "flash", side=16)
CASES = {
    "flash: causal window, soft cap, dropout": (flash, dict(causal=True, window=9), dict(softcap=2.0, **DROPOUT), 0),
    "flash: shared bias, dropout": (flash, {}, DROPOUT, 1),
    "flash: ranks, two-sided window, bias of each row": (flash, dict(ranks=True, strict=True, window=9), {}, B),
    "splash: two-sided window, soft cap": (functools.partial(run, "splash"), dict(window=9), dict(softcap=2.0), 0),
    "local: two-sided window": (functools.partial(run, "local"), dict(window=9), {}, 0),
    "local: causal, soft cap": (functools.partial(run, "local"), dict(causal=True, window=6), dict(softcap=2.0), 0),
    "local: ranks": (functools.partial(run, "local"), dict(ranks=True, window=7), {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_reference_s_and_nothing_leaks(name):
    make, rule, options, bias_rows = CASES[name]
    seen, given = visibility(**rule), arrays(bias_rows)
    function = make(seen, **options)
    results = function(given)
    assert_equal_numbers(results, run("einsum", seen, **options)(given))
    assert_no_leak(function, given, results[0][1])


def test_whole_rows_that_do_not_fill_a_block():
    given = arrays()
    seen = visibility(segments=False)
    expected = run("einsum", seen)(given)
    for backend in ("splash", "flash"):
        assert_equal_numbers(run(backend, seen)(given), expected)


def test_queries_that_see_nothing_give_nothing():
    given = arrays()
    segments = jnp.asarray(SEGMENTS, jnp.int32)
    across = Visibility(query_segments=segments, key_segments=jnp.where(segments == 2, 5, segments))
    expected = run("einsum", across)(given)
    for backend in ("splash", "flash"):
        (_, out), gradients = run(backend, across)(given)
        assert not np.asarray(out)[SEGMENTS == 2].any() and np.asarray(out)[SEGMENTS == 1].all()
        assert_equal_numbers(((0, out), gradients), expected)


def test_local_dropout_keeps_the_expectation_and_is_of_the_rate():
    seen, given = visibility(segments=False, window=9), arrays()
    given["v"] = jnp.ones_like(given["v"])
    key = random_bits.key(0, "counter")
    (_, out), _ = run("local", seen, dropout=0.3, key=key)(given)
    assert abs(float(out.mean()) - 1) < 0.05 and float(out.std()) > 0.1


@pytest.mark.parametrize("backend, options, bias_rows", [("flash", DROPOUT, 1), ("splash", {}, 0)])
def test_on_eight_devices_the_numbers_are_those_of_one(backend, options, bias_rows):
    """Rows over data and fsdp, heads over tensor. Dropout's bits do not depend on the mesh."""
    seen, given = visibility(causal=True), arrays(bias_rows)
    expected = run("einsum", seen, **options)(given)
    mesh = meshes.make_mesh(dict(data=2, fsdp=2, tensor=2, sequence=1))
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        function = run(backend, seen, **options)
        assert_equal_numbers(function(given), expected)
        assert "shard_map" in str(jax.make_jaxpr(function)(given))


def test_a_backend_by_name_goes_through_the_one_function():
    given, seen = arrays(), visibility(window=9)
    got = attention(given["q"], given["k"], given["v"], seen, scale=0.4, backend="local")
    expected = attention(given["q"], given["k"], given["v"], seen, scale=0.4, backend="einsum")
    np.testing.assert_allclose(got, expected, atol=1e-5)
