"""Which kind of devices a program is traced for: what is computed, and how, may depend on it."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_planned: contextvars.ContextVar[str | None] = contextvars.ContextVar("planned", default=None)


def platform(mesh: jax.sharding.Mesh | None = None) -> str:
    """ "cpu", "gpu" or "tpu": of what is planned, of a mesh, or of this machine.

    Args:
        mesh: whose devices are asked for; None: the mesh in context, if there is one.
    """
    if planned := _planned.get():
        return planned
    if mesh is not None:
        found = mesh.devices.flat[0].platform
    else:
        mesh = jax.sharding.get_abstract_mesh()
        device = None if mesh.empty else mesh.abstract_device
        found = device.platform if device else jax.default_backend()
    return "gpu" if found in ("cuda", "rocm") else found


@contextlib.contextmanager
def planned_for(kind: str) -> Iterator[None]:
    """While this holds, what is traced is for devices that are not there: "cpu", "gpu" or "tpu"."""
    token = _planned.set(kind)
    try:
        yield
    finally:
        _planned.reset(token)
