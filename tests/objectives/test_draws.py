"""Random orders: those of a sort of uniform draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.objectives.draws import random_order


@pytest.mark.parametrize("size", [1, 2, 100, 512, 513])  # the last sorts pairs
@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
def test_is_the_order_of_uniform_draws_and_others_come_last(size, share):
    rng = np.random.default_rng(size)
    keys = jax.random.split(jax.random.key(7, impl="threefry2x32"), 8)
    among = None if share is None else rng.random((8, size)) < share
    draws = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (size,)))(keys))
    expected = np.argsort(np.where(True if among is None else among, draws, 1.0), axis=1, kind="stable")
    found = jax.jit(jax.vmap(lambda key, a: random_order(key, size, a), (0, None if among is None else 0)))(keys, among)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [512, 600])
def test_the_largest_draw_is_still_before_what_may_not_be_drawn(size, monkeypatch):
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, 0xFFFFFFFF, dtype))
    among = np.arange(size) % 3 == 2
    found = np.asarray(random_order(jax.random.key(0), size, among))
    np.testing.assert_array_equal(found, np.concatenate([np.flatnonzero(among), np.flatnonzero(~among)]))
