"""Dropout with 16 random bits a unit: half the generator's work of a float, the rate exact to 1e-5."""

import jax
import jax.numpy as jnp


def kept_of(rate):
    """Of 2 ** 16 units, how many are kept."""
    return round((1.0 - rate) * 2**16)


def dropout_mask(key, rate, x):
    """Zeroes each element of `x` with probability `rate` and scales the rest by 1 / (1 - rate).

    The probability is rounded to a multiple of 2 ** -16, and the scale matches the rounded one, so that the
    expectation is exact.
    """
    kept = kept_of(rate)
    bits = jax.random.bits(key, x.shape, jnp.uint16)
    return jnp.where(bits < kept, x * jnp.asarray(2**16 / kept, x.dtype), jnp.zeros((), x.dtype))


def dropout(module, x, rate, deterministic):
    """`dropout_mask` with the "dropout" random stream of a Flax module; the identity when deterministic."""
    if deterministic or rate == 0.0:
        return x
    return dropout_mask(module.make_rng("dropout"), rate, x)
