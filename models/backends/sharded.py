"""Kernels on a mesh: each device runs its own rows and heads. XLA cannot cut what is inside a kernel."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from cloze.models import axes
from cloze.models.backends.choice import cuts, mesh_axes

AXES = {
    **dict.fromkeys(("q", "k", "v"), (axes.BATCH, None, axes.ACT_HEADS, None)),
    "bias": (axes.BATCH, axes.ACT_HEADS, None, None),
    **dict.fromkeys(("query_segments", "key_segments", "query_ranks", "key_ranks"), (axes.BATCH, None)),
    "words": (None,),
}


def arrays_of(visibility, rows):
    """{name: int32 [B, T] or [B, S]} of the arrays that a visibility has."""
    names = ("query_segments", "key_segments", "query_ranks", "key_ranks")
    found = {name: getattr(visibility, name) for name in names}
    return {n: jnp.broadcast_to(x, (rows, x.shape[1])) for n, x in found.items() if x is not None}


def on_each_device(function, arrays):
    """Runs a kernel on the part of its arrays that each device holds.

    Args:
        function: of (arrays, number of the first row, number of the first query head), gives [B, T, H, E].
        arrays: {name of AXES: array}. Rows and heads divide over the mesh in context, see choice.uneven.

    Returns:
        [B, T, H, E], over all devices.
    """
    if cuts(axes.BATCH) == cuts(axes.ACT_HEADS) == 1 and jax.sharding.get_abstract_mesh().size <= 1:
        return function(arrays, 0, 0)

    def spec(name):
        names = AXES[name]
        if arrays[name].shape[0] == 1 and name == "bias":
            names = (None, *names[1:])
        return PartitionSpec(*(mesh_axes(axis) or None if axis else None for axis in names))

    def local(arrays):
        rows, _, heads, _ = arrays["q"].shape
        first_row, first_head = (jax.lax.axis_index(found) if found else 0 for found in (rows_axes, heads_axes))
        return function(arrays, first_row * rows, first_head * heads)

    rows_axes, heads_axes = mesh_axes(axes.BATCH), mesh_axes(axes.ACT_HEADS)
    specs = {name: spec(name) for name in arrays}
    # Kernels do not say along which axes what they give varies.
    return jax.shard_map(local, in_specs=(specs,), out_specs=specs["q"], check_vma=False)(arrays)
