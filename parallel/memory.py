"""What a step needs on one device, estimated from its trace in a second, nothing compiled.

Every value of the program lives from where it is made to its last use, but those that XLA computes where they are
read: element by element, or as a view of others. See parallel/flow.py for how values are cut over devices.
"""

import dataclasses
from typing import Any

import jax

from cloze.parallel import chips
from cloze.parallel.flow import ELEMENTWISE, VIEWS, Flow, Value, gathered

SAVES = 0.9  # a value that is smaller than what it is computed from, by more than this, is kept in its place

TILES = {"tpu": (8, 128)}  # sides that XLA fills the last two dimensions of an array up to


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes on one device.

    Attributes:
        parameters: those that train and those that do not, and their average where one is kept.
        optimizer: its state.
        gradients: of what trains, in f32.
        activations: all else that is there when most is.
        rows: the batch as it is read.
        traffic: not a part: bytes that are written and read of all that is computed, in the whole step.
    """

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    rows: float = 0.0
    traffic: float = dataclasses.field(default=0.0, kw_only=True)

    @property
    def peak(self) -> float:
        """All of it."""
        return self.parameters + self.optimizer + self.gradients + self.activations + self.rows

    def line(self, available: float) -> str:
        """A line for the console; `available` are the bytes that a device has."""
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in self.parts().items() if name != "peak")
        warning = "" if self.peak <= available else ": it may not fit"
        peak, of = self.peak / 2**20, available / 2**20
        return f"Memory by estimate, MiB per device: {parts}; peak {peak:,.0f} of {of:,.0f}{warning}"

    def parts(self) -> dict[str, float]:
        """{part: bytes}, with the peak last."""
        found = dataclasses.asdict(self) | {"peak": self.peak}
        del found["traffic"]
        return found


def device_memory() -> float | None:
    """Bytes that a program has on a device of this machine; None: not known, as on a CPU."""
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    chip = chips.of_kind(device.device_kind)
    return statistics.get("bytes_limit") or (chip.device_memory if chip else None)


@dataclasses.dataclass(frozen=True)
class Target:
    """What a program is compiled for.

    Attributes:
        mesh: {axis: size}.
        fuses_products: whether what products read may be computed while they run; on CPUs it is not.
        tile: sides that the last two dimensions of an array are filled up to.
    """

    mesh: dict[str, int]
    fuses_products: bool
    tile: tuple[int, int]

    def bytes(self, value: Value) -> float:
        """Bytes of a value on one device."""
        return value.bytes(self.mesh, tile=self.tile)


class Estimator:
    """The estimate of one traced step, for any mesh with the same axes.

    Args:
        traced: jax.stages.Traced of a function of (state, rows, keys) that gives (state, metrics); state is a
            training.step.TrainState of arrays with shardings.
        state, rows: its abstract arguments.
        platform: that it is compiled for: "tpu", "gpu" or "cpu".
        copies: bytes of the compute type, if XLA keeps a copy of all kernels in it through the step; else 0.
    """

    def __init__(self, traced: Any, state: Any, rows: dict[str, Any], platform: str, copies: int = 0):
        self._flow, self._state, self._rows, self._copies = Flow(traced.jaxpr.jaxpr), state, rows, copies
        self._platform = platform
        leaves = jax.tree.leaves((state, rows))
        held = jax.tree.leaves(state)
        for value, leaf in zip(self._flow.inputs, leaves, strict=False):
            value.free = True
            value.cut = _cut(leaf)
        for value in [*self._flow.inputs, *self._flow.constants]:
            value.free = True
        for value, leaf in zip(self._flow.outputs, held, strict=False):
            if value is not None:
                value.free = True
                value.place(_cut(leaf))
        self._flow.spread()

    def __call__(self, mesh: dict[str, int]) -> Estimate:
        """The estimate for a mesh {axis: size}."""
        count = lambda tree: sum(_bytes(leaf, mesh) for leaf in jax.tree.leaves(tree))  # noqa: E731
        state = self._state
        gradients = count(state.trainable)
        matrices = [leaf for leaf in jax.tree.leaves((state.trainable, state.frozen)) if leaf.ndim >= 2]
        copies = sum(_bytes(leaf, mesh) / leaf.dtype.itemsize * self._copies for leaf in matrices)
        target = Target(mesh, self._platform != "cpu", TILES.get(self._platform, (1, 1)))
        temporaries = _peak(self._flow, target) + copies
        return Estimate(
            parameters=count((state.trainable, state.frozen, state.ema)),
            optimizer=count(state.opt_state),
            gradients=gradients,
            activations=max(0.0, temporaries - gradients),
            rows=count(self._rows),
            traffic=_traffic(self._flow, target),
        )


def _cut(leaf):
    spec = tuple(leaf.sharding.spec) + (None,) * (leaf.ndim - len(leaf.sharding.spec))
    return [() if part is None else (part,) if isinstance(part, str) else tuple(part) for part in spec]


def _bytes(leaf, mesh):
    parts = 1
    for names in _cut(leaf):
        for axis in names:
            parts *= mesh[axis]
    return leaf.size * (leaf.dtype.itemsize if hasattr(leaf.dtype, "itemsize") else 8) / parts


def _peak(flow, target):
    """Most bytes that the values of a list of operations take at one time, beside its inputs."""
    held_by, last = _sources(flow, target), {}
    for number, operation in enumerate(flow.operations):
        for value in operation.inputs:
            for source in held_by.get(value, (value,)):
                last[source] = number
    for value in flow.outputs:
        for source in held_by.get(value, (value,)):
            last[source] = len(flow.operations)
    ends: dict[int, list] = {}
    live = peak = 0.0
    for number, operation in enumerate(flow.operations):
        made = [value for value in operation.outputs if held_by.get(value) == (value,)]
        beside = 0.0
        if operation.name == "dot_general":
            beside = gathered(operation, target.mesh, target.tile)
        elif operation.bodies:
            beside = max(_peak(body, target) for body in operation.bodies)
        for value in made:
            live += target.bytes(value)
            ends.setdefault(last.get(value, number), []).append(value)
        peak = max(peak, live + beside)
        for value in ends.pop(number, ()):
            live -= target.bytes(value)
    return peak


def _traffic(flow, target):
    """Bytes that the operations which store a result write and read, beside the inputs of the list."""
    held_by, total = _sources(flow, target), 0.0
    for operation in flow.operations:
        if operation.bodies:
            times = operation.params.get("length", 1)
            total += times * max(_traffic(body, target) for body in operation.bodies)
            continue
        made = [value for value in operation.outputs if held_by.get(value) == (value,)]
        read = {source for value in operation.inputs if value for source in held_by.get(value, ())} if made else ()
        total += sum(target.bytes(value) for value in (*made, *read))
    return total


def _sources(flow, target):
    """{value: the values that are in memory for it}: itself, or those that it is computed from where it is read."""
    sources = {value: () for value in (*flow.inputs, *flow.constants) if value is not None}
    products = (operation for operation in flow.operations if operation.name == "dot_general")
    factors = set() if target.fuses_products else {value for operation in products for value in operation.inputs}
    for operation in flow.operations:
        fused = operation.name in ELEMENTWISE or operation.name in VIEWS
        behind = tuple(dict.fromkeys(s for value in operation.inputs if value for s in sources.get(value, ())))
        for value in operation.outputs:
            if value.free:
                sources[value] = ()
            elif operation.name in ELEMENTWISE and value in factors:
                sources[value] = (value,)
            elif fused and value.bytes(target.mesh) >= SAVES * sum(source.bytes(target.mesh) for source in behind):
                sources[value] = behind
            else:
                sources[value] = (value,)
    return sources
