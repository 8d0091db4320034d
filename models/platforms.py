"""Which kind of devices a program is traced for: what is computed, and how, may depend on it."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_planned: contextvars.ContextVar[str | None] = contextvars.ContextVar("planned", default=None)


def platform() -> str:
    """ "cpu", "gpu" or "tpu": of what is planned, of the mesh in whose context it is asked, or of this machine."""
    if planned := _planned.get():
        return planned
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
