"""Cross-entropy equals its textbook form, in value and gradient; terms add up."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads

from cloze.models.outputs import Outputs, Padded
from cloze.objectives import losses
from cloze.objectives.causal_lm import CausalLM
from cloze.objectives.losses import classification_terms, cross_entropy, is_top

OPTIONS = [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.2, 3e-2)]


def reference(logits, targets, label_smoothing, z_loss):
    labels = optax.smooth_labels(jax.nn.one_hot(targets, logits.shape[-1]), label_smoothing)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    return optax.softmax_cross_entropy(logits, labels) + z_loss * log_z**2


def example(dtype=jnp.float32, shape=(3, 4, 11), scale=3.0):
    key = jax.random.key(5)
    logits = (scale * jax.random.normal(key, shape)).astype(dtype)
    return logits, jax.random.randint(jax.random.key(6), shape[:-1], 0, shape[-1])


@pytest.mark.parametrize("options", OPTIONS)
def test_value_and_gradient_equal_the_reference(options):
    logits, targets = example()
    weights = jax.random.uniform(jax.random.key(7), targets.shape)  # cotangents that differ
    ours, our_gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(weights * cross_entropy(x, targets, *options))))(
        logits
    )
    theirs, their_gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(weights * reference(x, targets, *options))))(
        logits
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_equals_finite_differences(options):
    logits, targets = example(shape=(2, 5), scale=1.0)
    check_grads(lambda x: cross_entropy(x, targets, *options), (logits,), order=2, modes=["rev"], rtol=2e-2, atol=2e-2)


@hypothesis.given(
    logits=hnp.arrays(np.float32, (2, 6), elements=st.floats(-1e4, 1e4, width=32)),
    targets=hnp.arrays(np.int32, (2,), elements=st.integers(0, 5)),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_large_logits_are_safe(logits, targets):
    x = logits.astype(np.float64)
    top = x.max(-1)
    log_z = top + np.log(np.exp(x - top[:, None]).sum(-1))
    loss = cross_entropy(logits, targets, 0.0, 0.0)
    np.testing.assert_allclose(loss, log_z - x[np.arange(2), targets], rtol=1e-5, atol=1e-2)
    gradient = jax.grad(lambda y: cross_entropy(y, targets).sum())(jnp.asarray(logits))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-2)  # log Z near 1e4 has a resolution of 1e-3


def test_bfloat16_logits_are_scored_in_float32_and_keep_their_gradients_dtype():
    logits, targets = example(jnp.bfloat16)
    loss, gradient = jax.value_and_grad(lambda x: cross_entropy(x, targets, 0.1, 1e-3).sum())(logits)
    expected = reference(logits.astype(jnp.float32), targets, 0.1, 1e-3).sum()
    assert loss.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_backward_pass_neither_scatters_nor_stores_another_array_of_the_logits_size():
    logits, targets = example()
    _, pullback = jax.vjp(lambda x: cross_entropy(x, targets, 0.1, 1e-3), logits)
    residuals = [leaf for leaf in jax.tree.leaves(pullback) if leaf.shape == logits.shape]
    assert len(residuals) == 1 and residuals[0] is logits
    assert "scatter" not in str(jax.make_jaxpr(pullback)(jnp.ones(targets.shape)))


@hypothesis.given(
    logits=hnp.arrays(np.int8, (4, 5), elements=st.integers(-1, 1)),
    targets=hnp.arrays(np.int32, (4,), elements=st.integers(0, 4)),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_is_top_is_argmax_also_where_logits_tie(logits, targets, dtype):
    logits = jnp.asarray(logits).astype(dtype)
    np.testing.assert_array_equal(is_top(logits, jnp.asarray(targets)), np.argmax(logits, -1) == targets)


@pytest.mark.parametrize("options", OPTIONS)
def test_rows_of_padding_count_for_nothing(options):
    """Though they have the largest logits of all; the gradient gives them nothing."""
    logits, targets = example()
    size = logits.shape[-1]
    padded = jnp.concatenate([logits, logits[..., :3] + 100], axis=-1)
    whole = jax.value_and_grad(lambda x: cross_entropy(x, targets, *options).sum())(logits)
    loss, gradient = jax.value_and_grad(lambda x: cross_entropy(x, targets, *options, size).sum())(padded)
    np.testing.assert_allclose(loss, whole[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[..., :size], whole[1], rtol=1e-5, atol=1e-7)
    assert not gradient[..., size:].any()
    np.testing.assert_array_equal(is_top(padded, targets, size), is_top(logits, targets))
    assert not is_top(padded, targets).any()
    terms = [classification_terms(x, targets, jnp.ones(targets.shape), "ab") for x in (logits, Padded(padded, size))]
    np.testing.assert_allclose([terms[0][name].sum for name in "ab"], [terms[1][name].sum for name in "ab"], rtol=1e-6)


@pytest.mark.parametrize("lanes", [1, 3, 4, 5])
@pytest.mark.parametrize("shift", [-200.0, 0.0, 200.0])
def test_columns_are_added_up_exactly_some_at_a_time(lanes, shift, monkeypatch):
    """As on CPUs for real vocabularies; a rest of none, one or more columns, rows of infinities and NaN."""
    monkeypatch.setattr(losses, "LANES", lanes)
    logits, _ = example(shape=(2, 5, 15))
    padded = jnp.concatenate([logits + shift, logits[..., :3] + 400], axis=-1)
    for size in (12, 13, 15):
        expected = jax.nn.logsumexp(padded[..., :size], axis=-1)
        np.testing.assert_allclose(losses._log_z(padded, size), expected, rtol=1e-6)
    odd = jnp.full((4, 15), -jnp.inf).at[1, 14].set(jnp.inf).at[2, 2].set(jnp.nan).at[3, 13].set(1.0)
    np.testing.assert_array_equal(losses._log_z(odd, None), [-jnp.inf, jnp.inf, jnp.nan, 1.0])


def test_a_row_with_nan_is_never_right():
    assert not is_top(jnp.array([[jnp.nan, 1.0], [2.0, jnp.nan]]), jnp.array([1, 0])).any()


def test_terms_equal_a_loop_over_tokens():
    logits, targets = example()
    weights = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], np.float32)
    batch = {"targets": targets, "target_weights": jnp.asarray(weights)}
    terms = CausalLM().loss(Outputs(heads={"lm": logits}), batch)
    loss, right = 0.0, 0
    for b, t in np.argwhere(weights):
        p = np.exp(np.float64(logits[b, t]))
        loss -= np.log(p[targets[b, t]] / p.sum())
        right += int(np.argmax(p)) == targets[b, t]
    np.testing.assert_allclose(terms["loss"].sum, loss, rtol=1e-6)
    assert (terms["accuracy"].sum, terms["accuracy"].weight) == (right, 5)
    assert (terms["loss"].weight, terms["loss"].coefficient, terms["accuracy"].coefficient) == (5, 1.0, 0.0)


def test_weights_depend_on_the_batch_alone_and_microbatches_add_up():
    logits, targets = example()
    weights = jnp.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], jnp.float32)

    def terms(logits, rows=slice(None)):
        batch = {"targets": targets[rows], "target_weights": weights[rows]}
        return CausalLM(label_smoothing=0.1, z_loss=1e-3).loss(Outputs(heads={"lm": logits[rows]}), batch)

    whole, zero, parts = (
        terms(logits),
        terms(jnp.zeros_like(logits)),
        [terms(logits, slice(i, i + 1)) for i in range(3)],
    )
    for name in ("loss", "accuracy"):
        assert zero[name].weight == whole[name].weight == sum(part[name].weight for part in parts)
        np.testing.assert_allclose(sum(part[name].sum for part in parts), whole[name].sum, rtol=1e-6)
