"""A number for the values of an array, the same on any number of devices: is what is read what was saved?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}  # by bytes of an item


@jax.jit
def fingerprints(leaves: list) -> jax.Array:
    """uint32 [n]: for each of n arrays the sum, modulo 2^32, of its items' bits times odd numbers for their places.

    Any single item that differs makes another sum, and integers have the same sum in any order.
    """
    return jnp.stack([_fingerprint(leaf) for leaf in leaves])


def _fingerprint(leaf):
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(leaf, _UNSIGNED[leaf.dtype.itemsize]).astype(jnp.uint32)
    place, stride = jnp.zeros((), jnp.uint32), 1
    for axis in reversed(range(leaf.ndim)):
        place += jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= leaf.shape[axis]
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def path_of(path: tuple) -> str:
    """A path of jax.tree_util in words, the same for a tuple with names and for the dict that it is stored as."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def by_path(tree: Any, numbers: jax.Array) -> dict[str, int]:
    """{path of a leaf: its fingerprint}, of a tree and what `fingerprints` gives for its leaves."""
    paths = (path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    return dict(zip(paths, np.asarray(numbers.addressable_data(0)).tolist(), strict=True))
