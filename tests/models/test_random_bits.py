"""Bits that are hashed from places: even, unlike their neighbours, and the same however they are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cloze.models import random_bits
from cloze.models.dropout import dropout_mask

KEY = random_bits.key(0, "counter")


def bits(key, shape, dtype=jnp.uint32):
    return np.asarray(jax.jit(lambda k: jax.random.bits(k, shape, dtype))(key))


@pytest.mark.parametrize("dtype, width", [(jnp.uint8, 8), (jnp.uint16, 16), (jnp.uint32, 32)])
def test_every_bit_is_as_often_set_as_not(dtype, width):
    found = bits(KEY, (256, 4096), dtype)
    shares = [np.mean((found >> bit) & 1) for bit in range(width)]
    np.testing.assert_allclose(shares, 0.5, atol=5 * 0.5 / 1024)  # five standard deviations


def test_values_are_even_over_their_range():
    counts = np.bincount(bits(KEY, (1024, 1024), jnp.uint16).reshape(-1) >> 8, minlength=256)
    expected = 2**20 / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * np.sqrt(2 * 255)  # chi-square, five deviations


@pytest.mark.parametrize("other", ["next place", "next row", "next layer", "next step", "next seed"])
def test_neighbours_have_nothing_in_common(other):
    found = bits(KEY, (513, 2049))
    neighbours = {
        "next place": lambda: found[:-1, 1:],
        "next row": lambda: found[1:, :-1],
        "next layer": lambda: bits(jax.random.split(KEY)[1], found.shape)[:-1, :-1],
        "next step": lambda: bits(jax.random.fold_in(KEY, 1), found.shape)[:-1, :-1],
        "next seed": lambda: bits(random_bits.key(1, "counter"), found.shape)[:-1, :-1],
    }
    # As with coins: 16 bits of 32 differ on average, with a deviation of sqrt(8).
    differing = np.bitwise_count(found[:-1, :-1] ^ neighbours[other]())
    assert abs(differing.mean() - 16) < 5 * np.sqrt(8) / 1024
    assert abs(differing.std() - np.sqrt(8)) < 0.02


def test_they_are_the_same_on_any_mesh_and_for_a_batch_of_keys():
    mesh = jax.make_mesh((4, 2), ("a", "b"))
    cut = jax.jit(
        lambda k: jax.random.bits(k, (8, 6, 4)), out_shardings=NamedSharding(mesh, PartitionSpec("a", "b"))
    )(KEY)  # fmt: skip
    whole = bits(KEY, (8, 6, 4))
    np.testing.assert_array_equal(cut, whole)
    keys = jax.random.split(KEY, 3)
    batch = jax.vmap(lambda k: jax.random.bits(k, (5, 7)))(keys)
    np.testing.assert_array_equal(batch, np.stack([bits(key, (5, 7)) for key in keys]))
    assert jax.random.bits(KEY, ()).shape == ()


@pytest.mark.parametrize("generator", random_bits.GENERATORS)
def test_dropout_keeps_its_share_and_its_mean(generator):
    x = jnp.ones((512, 2048))
    y = np.asarray(dropout_mask(random_bits.key(3, generator), 0.1, x))
    assert abs((y == 0).mean() - 0.1) < 5 * np.sqrt(0.09 / y.size)
    assert abs(y.mean() - 1) < 1e-3
