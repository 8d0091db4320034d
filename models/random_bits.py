"""Random bits for dropout: a hash of each element's place, where it is needed, in place of a generator's passes.

Keys come from one another as threefry's do. Bits of a key are two rounds of a 32-bit mixing function over the place
and the key, which compilers fuse with what reads them: no array of bits is written, and on any mesh the bits are the
same. They are good enough to drop units, and for nothing else; what is sampled for objectives stays threefry's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as extended

GENERATORS = ("counter", "threefry2x32", "rbg", "unsafe_rbg")


def key(seed: int, generator: str) -> jax.Array:
    """The key of a seed for one of GENERATORS."""
    return jax.random.key(seed, impl=_COUNTER if generator == "counter" else generator)


def _mix(x):
    """A permutation of uint32 of which each output bit hangs on all input bits ("lowbias32", C. Wellons 2018)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * np.uint32(factor)
    return x ^ (x >> 16)


def is_counter(key: jax.Array) -> bool:
    """Whether a key is of the generator `counter`."""
    return jax.random.key_impl(key) == jax.random.key_impl(
        jax.random.wrap_key_data(np.zeros(2, np.uint32), impl=_COUNTER)
    )


def words(key):
    """The two words, uint32 [2], with which `hashed` makes the bits of a counter's key."""
    return _mix(jax.random.key_data(key) + np.uint32(1))  # so that seeds 0 and 1 differ in more than a bit


def hashed(one, two, first, place):
    """32 random bits for each place: uint32 like `first` and `place`.

    Args:
        one, two: of `words`.
        first: uint32, index along an array's first axis.
        place: uint32, index in the array of all its other axes, flattened.
    """
    return _mix(_mix(place + one) ^ (first * np.uint32(0x9E3779B9) + two))


def _bits(key_data, bit_width, shape):
    """Unsigned integers of 8, 16 or 32 bits from the uint32 [2] of a key; the first axis and the rest count apart."""
    if bit_width not in (8, 16, 32):
        raise ValueError(f"counter bits come in 8, 16 or 32, not {bit_width}")
    place, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in range(len(shape) - 1, 0, -1):
        place += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(stride % 2**32)
        stride *= shape[axis]
    first = jax.lax.broadcasted_iota(jnp.uint32, shape, 0) if shape else place
    one, two = _mix(key_data + np.uint32(1))
    mixed = hashed(one, two, first, place)
    return (mixed >> (32 - bit_width)).astype(jnp.dtype(f"uint{bit_width}"))


_threefry = extended.threefry_prng_impl
_COUNTER = extended.define_prng_impl(
    key_shape=(2,), seed=_threefry.seed, split=_threefry.split, random_bits=_bits, fold_in=_threefry.fold_in,
    name="counter", tag="ctr",
)  # fmt: skip
