"""Counted operations against arithmetic by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cloze.models.attention import attention
from cloze.models.inputs import Visibility
from cloze.parallel import cost
from cloze.parallel import mesh as meshes
from tests.models import tiny


def flops(function, *arguments):
    return cost.count_flops(jax.make_jaxpr(function)(*arguments))


def test_products_and_loops():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert flops(lambda x, y: x @ y, a, b) == 2 * 3 * 4 * 5
    assert flops(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))) == 7 * 120

    def loop(x):
        return jax.lax.scan(lambda c, _: (c @ jnp.ones((4, 4)), None), x, None, length=6)[0]

    assert flops(jax.jit(loop), a) == 6 * 2 * 3 * 4 * 4
    # Value and gradient by the left side: the product and one more of its size.
    assert flops(jax.value_and_grad(lambda x: (x @ b).sum()), a) == 240


def test_a_transformer_counts_as_its_products():
    from cloze import models

    for scan in (True, False):
        model = models.Transformer(tiny.config("gpt2", scan=scan))
        data = tiny.batch("gpt2", rows=2, length=16)
        got = flops(lambda p, m=model, d=data: m.apply({"params": p}, d).logits, tiny.parameters("gpt2"))
        tokens, width, ffn, layers = 2 * 16, 32, 64, 3
        by_hand = layers * (8 * tokens * width * width + 4 * tokens * 16 * width + 4 * tokens * width * ffn)
        assert got == by_hand + 2 * tokens * width * 104


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("backend", ["flash", "splash"])
def test_a_kernel_counts_as_its_products(backend, devices):
    """Of all devices, and of the blocks that it computes."""
    rows, length, heads, size = 8, 256, 4, 16
    x = jnp.ones((rows, length, heads, size))

    def cost_of(backend, **rule):
        return flops(lambda x: attention(x, x, x, Visibility(**rule), scale=1.0, backend=backend), x)

    whole = 4 * rows * heads * length * length * size
    mesh = meshes.make_mesh(dict(data=devices, fsdp=1, tensor=1, sequence=1), jax.devices()[:devices])
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        assert cost_of("einsum") == cost_of(backend) == whole
        if backend == "flash":  # in blocks of 128 all but one of four are at or below the diagonal
            assert cost_of(backend, causal=True) == whole * 3 / 4


def test_frozen_layers_cost_no_backward():
    from cloze import models

    def cost_of(frozen):
        model = models.Transformer(tiny.config("bert"), frozen_encoder=frozen)
        data = tiny.batch("bert")
        params = tiny.parameters("bert")
        top = {k: v for k, v in params.items() if k not in ("encoder", "token", "encoder_embeddings")}
        rest = {k: v for k, v in params.items() if k not in top}
        return flops(jax.grad(lambda t: jnp.square(model.apply({"params": {**rest, **t}}, data).logits).sum()), top)

    forward = flops(
        lambda p: models.Transformer(tiny.config("bert")).apply({"params": p}, tiny.batch("bert")).logits,
        tiny.parameters("bert"),
    )
    assert cost_of(3) < 1.6 * forward  # only the head goes backward


def test_fused_attention_counts_as_the_products_inside_it():
    """cuDNN's operation cannot be traced without its library, so equations of its shape stand in."""
    from types import SimpleNamespace

    def equation(name):
        shapes = [(2, 16, 4, 8), (2, 32, 2, 8), (2, 32, 2, 8)]
        invars = [SimpleNamespace(aval=SimpleNamespace(shape=shape)) for shape in shapes]
        return SimpleNamespace(primitive=SimpleNamespace(name=name), invars=invars, params={})

    def count(name):
        return cost.count_flops(SimpleNamespace(eqns=[equation(name)]))

    one_product = 2 * 2 * 4 * 16 * 32 * 8
    assert count("dot_product_attention_fwd_wrapper") == 2 * one_product
    assert count("dot_product_attention_bwd_wrapper") == 5 * one_product
