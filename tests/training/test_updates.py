"""Norms of trees and clipping equal optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cloze.training import updates


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    shapes = {"matrix": (300, 70), "stack": (3, 40, 50), "vector": (70,), "number": ()}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def test_the_norm_is_that_of_all_numbers_together(tree):
    together = np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in tree.values()])
    np.testing.assert_allclose(updates.global_norm(tree), np.linalg.norm(together), rtol=1e-6)


def test_of_many_numbers_it_is_as_exact_as_a_pairwise_sum():
    many = jnp.full((4000, 5000), 0.1, jnp.float32)
    np.testing.assert_allclose(updates.global_norm({"a": many}), 0.1 * np.sqrt(2e7), rtol=1e-5)


@pytest.mark.parametrize("largest", [0.5, 1e6])
def test_clipping_equals_optax(tree, largest):
    ours, theirs = (clip(largest) for clip in (updates.clip_by_global_norm, optax.clip_by_global_norm))
    got, expected = (clip.update(tree, clip.init(tree))[0] for clip in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)
    if largest == 1e6:
        jax.tree.map(np.testing.assert_array_equal, got, tree)
