"""Where a trained model runs: on one device, or cut over a mesh, whose devices may belong to several processes."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def to_host(tree: Any) -> Any:
    """numpy arrays of a tree of arrays, whole ones in every process; all processes must ask for the same."""
    return jax.tree.map(_whole, tree)


def _whole(array):
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    everywhere = NamedSharding(array.sharding.mesh, PartitionSpec())
    return np.asarray(jax.jit(lambda x: x, out_shardings=everywhere)(array))


def put(array: Any, sharding: Any) -> jax.Array:
    """An array that every process has, as one array over the devices of all."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        words = put(np.asarray(jax.random.key_data(array)), sharding)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(array))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where batches are run.

    Attributes:
        rows: how rows of a batch are cut; None: there is one device.
        context: makes the context in which programs run, of a mesh.
    """

    rows: NamedSharding | None = None
    context: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext

    def whole(self, batch_size: int) -> int:
        """A number of rows that divides over the devices: the one given, or a few more."""
        if self.rows is None:
            return batch_size
        axes = self.rows.spec[0]
        across = math.prod(self.rows.mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes))
        return math.ceil(batch_size / across) * across

    def place(self, batch: Any) -> Any:
        """Arrays of rows on the devices; each process gives all rows."""
        return batch if self.rows is None else jax.tree.map(lambda array: put(array, self.rows), batch)


ONE = Devices()
