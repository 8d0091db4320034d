"""Places of a row in random order."""

import jax
import jax.numpy as jnp

_BITS = 23  # of a draw, as many as `jax.random.uniform` uses for float32


def random_order(key, size, among_R=None):
    """Every place once, those that may be drawn in random order in front of the others.

    A draw and its place are one word, because a CPU sorts single words five times as fast as pairs; rows of more than
    2^9 places sort pairs. Either way it is a sort, which the compiler cuts along rows, where top_k would run over the
    whole batch on every device.

    Args:
        key: threefry key.
        size: Python int, R.
        among_R: bool [R], places that may be drawn; None: all.

    Returns:
        int32 [R]: what `jnp.argsort(jnp.where(among_R, jax.random.uniform(key, (size,)), 1.0))` gives, but for draws of
        the two largest values, which are equal here.
    """
    last = (1 << _BITS) - 1
    draws_R = jnp.minimum(jax.random.bits(key, (size,), jnp.uint32) >> (32 - _BITS), last - 1)
    if among_R is not None:
        draws_R = jnp.where(among_R, draws_R, last)
    place_bits = (size - 1).bit_length()
    if _BITS + place_bits > 32:
        return jnp.argsort(draws_R).astype(jnp.int32)
    words_R = (draws_R << place_bits) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words_R) & ((1 << place_bits) - 1)).astype(jnp.int32)
