"""Changes of kernels inside the modules that own them: the merged model's outputs and gradients, without its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval

from cloze import models
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.models.composites import ReplacedPair, narrower
from cloze.models.low_rank import Lora, ScaledChange, narrow
from cloze.models.platforms import planned_for
from tests.models import test_composite, tiny

ALL = ((r".*", True),)
LINEAR = ((r".*/layers/.*", True), (r".*", False))
CASES = {  # every module with a kernel: families, and heads on them
    "bert": dict(family="bert", preset="base", heads_out=("mlm", "nsp", "class", "tag", "span"), num_labels=3),
    "spanbert": dict(family="spanbert", preset="base"),
    "albert": dict(family="albert", preset="base", embedding_width=16),
    "gpt2": dict(family="gpt2", preset="small", adapter_size=4),
    "llama": dict(family="llama", preset="1_7b", kv_heads=2),  # gated, and a vocabulary head of its own
    "t5": dict(family="t5", preset="v1_1_small", decoder_layers=3),
    "deberta": dict(family="deberta", preset="base"),
    "xlnet": dict(family="xlnet", preset="base"),
}


def adapted(family="gpt2", scaling="rank", magnitudes=False, **changes):
    lora = Lora(2, 6.0, LINEAR, scaling, magnitudes)
    return Adapted(models.build(tiny.config(family, **changes)), (lora,))


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    return {n: jnp.asarray(rng.normal(0, 0.2, s), jnp.float32) for n, s in models.parameters(model).shapes.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_kernel_can_be_changed(case):
    """A factor that no module reads would be left out of the traced program."""
    config = models.resolve({**tiny.SIZE, **CASES[case]})
    model = Adapted(models.build(config), (Lora(2, 6.0, ALL),))
    flat, data = drawn(model), models.example_batch()
    made = jax.make_jaxpr(lambda flat: model.apply({"params": names.unflatten(flat)}, data))(flat)
    _, used = partial_eval.dce_jaxpr(made.jaxpr, [True] * len(made.jaxpr.outvars))
    read = {name for name, is_used in zip(sorted(flat), used, strict=True) if is_used}
    factors = {name for name in flat if name.startswith("lora/")}
    kernels = {name for name in flat if name.endswith("/kernel")}
    assert factors <= read and len(factors) == 2 * len(kernels) > 0


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("scan", [False, True])
def test_the_gradient_is_that_of_the_merged_model(family, scan):
    model = adapted(family, scan=scan)
    flat, data = drawn(model), tiny.batch(family)
    factors = {name: leaf for name, leaf in flat.items() if name.startswith("lora/")}

    def loss(factors, apply):
        return jnp.square(apply(names.unflatten(flat | factors))).mean()

    def gradient(apply):
        return jax.jit(jax.value_and_grad(lambda factors: loss(factors, apply)))(factors)

    value, got = gradient(lambda p: model.apply({"params": p}, data).hidden)
    expected_value, expected = gradient(lambda p: model.model.apply({"params": model.merge(p)}, data).hidden)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for name, leaf in expected.items():
        assert np.abs(leaf).max() > 0
        np.testing.assert_allclose(got[name], leaf, atol=1e-5 * np.abs(leaf).max() + 1e-9, rtol=1e-3, err_msg=name)


def test_lengths_and_roots_merge_as_well():
    """DoRA and rsLoRA; a column that has no direction stays zero."""
    model = adapted("t5", scaling="sqrt_rank", magnitudes=True)
    flat, data = drawn(model), tiny.batch("t5")
    kernel = flat["encoder/layers/ffn/up/kernel"]
    got = jax.jit(lambda p: model.apply({"params": p}, data).hidden)(names.unflatten(flat))
    expected = jax.jit(lambda p: model.model.apply({"params": model.merge(p)}, data).hidden)(names.unflatten(flat))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    merged = names.flatten(model.merge(names.unflatten(flat)))["encoder/layers/ffn/up/kernel"]
    lengths = np.linalg.norm(kernel, axis=1) + flat["lora/encoder/layers/ffn/up/m"]
    np.testing.assert_allclose(np.linalg.norm(merged, axis=1), np.abs(lengths), rtol=1e-4)
    direction = kernel + 6 / 2**0.5 * flat["lora/encoder/layers/ffn/up/a"] @ flat["lora/encoder/layers/ffn/up/b"]
    cosine = np.sum(direction * merged, 1) / np.linalg.norm(direction, axis=1) / lengths
    np.testing.assert_allclose(cosine, 1, rtol=1e-4)
    change = ScaledChange(jnp.ones((3, 1)), jnp.zeros((1, 2)), 1.0, jnp.zeros(2))
    assert not np.asarray(change.merged(jnp.zeros((3, 2)))).any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_begins_exactly_at_the_base_model(dtype):
    model = adapted(dtype=dtype)
    flat = {name: jnp.zeros_like(leaf) if name.endswith("/b") else leaf for name, leaf in drawn(model).items()}
    base = {name: leaf for name, leaf in flat.items() if not name.startswith("lora/")}
    data = tiny.batch("gpt2")
    got = jax.jit(lambda p: model.apply({"params": p}, data).hidden)(names.unflatten(flat))
    expected = jax.jit(lambda p: model.model.apply({"params": p}, data).hidden)(names.unflatten(base))
    assert got.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(got, expected)


def products(jaxpr):
    """The shapes of all products of arrays in a program, also within its loops."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("scan", [False, True])
def test_no_gradient_of_a_kernel_is_formed(scan):
    model = adapted("bert", scan=scan)
    flat, data = drawn(model), tiny.batch("bert")
    sizes = {frozenset(shape[1:]) for name, shape in models.parameters(model.model).shapes.items() if "kernel" in name}

    def kernels(trains):
        half = {name: leaf for name, leaf in flat.items() if name.startswith("lora/") == trains}
        loss = lambda part: jnp.square(model.apply({"params": names.unflatten(flat | part)}, data).hidden).mean()  # noqa: E731
        made = jax.make_jaxpr(jax.grad(loss))(half)
        return [shape for shape in products(made.jaxpr) if len(shape) == 2 and frozenset(shape) in sizes]

    assert not kernels(True)
    assert kernels(False)  # where the kernels themselves train


def test_a_generator_shares_the_changes_of_what_it_borrows():
    config = test_composite.main_config()
    model = Adapted(ReplacedPair(narrower(config, 1.0, 1.0), config, "all"), (Lora(2, 6.0, LINEAR),))
    params, data = names.unflatten(drawn(model)), test_composite.batch_of()
    got = jax.jit(lambda p: model.apply({"params": p}, data))(params)
    expected = jax.jit(lambda p: model.model.apply({"params": model.merge(p)}, data))(params)
    np.testing.assert_allclose(got.generator_logits, expected.generator_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("out", [2, 9])
def test_a_narrow_product_has_the_gradient_of_a_product(backend, shape, out):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (shape, (7, out)))

    def gradients(function):
        return jax.grad(lambda x, kernel: jnp.square(jnp.tanh(function(x, kernel))).sum(), (0, 1))(x, kernel)

    with planned_for(backend):
        ours = gradients(narrow)
    for found, expected in zip(ours, gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
