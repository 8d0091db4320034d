"""How long a step takes at least, and about how long it will take: products, memory and interconnect of the data sheet.

Two roads lead here. `of_program` reads a compiled program: each instruction takes the longer of its products and its
traffic, and collectives are timed one by one. `of_estimate` has only totals, for a search among many meshes.
"""

import dataclasses
from typing import Any

from cloze.parallel import collectives as transfers
from cloze.parallel.hlo import Module

# Of the data sheet's rates, what large products and long passes over memory reach on these machines. Two constants,
# not fitted to any one row; docs/scaling.md has the error against published runs.
REACHED = {"products": 0.80, "memory": 0.80, "network": 0.80}
HIDDEN = ("data", "fsdp")  # axes whose transfers run beside the computation of other layers
TILES = {"v6e": 256, "tpu7x": 256}  # sides of the unit that multiplies; 128 in other TPUs


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step on one device.

    Attributes:
        products: of matrix products, at the rate that they reach, with dimensions filled up to the unit's.
        memory: of what takes longer to read and write than to compute, beyond `products`.
        network: {axes of the mesh: seconds of its transfers}.
        flops: operations of products on one device.
        traffic: bytes to and from memory of one device; 0: not known.
    """

    products: float
    memory: float
    network: dict[str, float]
    flops: float
    traffic: float = 0.0

    @property
    def computing(self) -> float:
        """Products and memory."""
        return self.products + self.memory

    @property
    def waiting(self) -> float:
        """What of the transfers is not hidden behind computing."""
        hidden = sum(seconds for axes, seconds in self.network.items() if _is_hidden(axes))
        return sum(self.network.values()) - hidden + max(0.0, hidden - self.computing)

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.computing + self.waiting

    @property
    def bound(self) -> str:
        """What most of the step is spent on."""
        parts = {"matrix products": self.products, "memory bandwidth": self.memory, "the network": self.waiting}
        return max(parts, key=parts.get)


def _is_hidden(axes):
    return all(axis in HIDDEN for axis in axes.split("+"))


def of_program(module: Module, topology: Any, mesh: Any, dtype: str, analytic: float) -> Roofline:
    """The Roofline of a compiled program.

    Args:
        module: for the TPU of `topology`.
        topology: topologies.Topology with a chip.
        mesh: jax.sharding.Mesh of its devices.
        dtype: of products, "bfloat16" or "float32".
        analytic: operations of products on one device by the program's trace: those of kernels, in which XLA's text
            shows none, are the difference.
    """
    chip, tile = topology.chip, TILES.get(topology.chip.name, 128 if topology.chip.is_tpu else 8)
    rate = chip.rate("bfloat16" if chip.is_tpu else dtype) * REACHED["products"]
    bandwidth = chip.bandwidth / chip.cores * REACHED["memory"]
    products = memory = flops = traffic = 0.0
    kernels = False
    for computation, instruction, times in module.instructions():
        kernels |= "tpu_custom_call" in instruction.attributes
        work, moved = module.flops(computation, instruction), module.traffic(computation, instruction)
        computing = module.flops(computation, instruction, tile) / rate if work else 0.0
        products += times * computing
        memory += times * max(0.0, moved / bandwidth - computing)
        flops += times * work
        traffic += times * moved
    if kernels and analytic > flops:
        products += (analytic - flops) / rate
        flops = analytic
    network = {}
    devices = list(mesh.devices.flat)
    for one in transfers.of(module, dict(mesh.shape)):
        path = transfers.route(topology, devices if chip.is_tpu else None, one.members)
        axes = "+".join(one.axes) or "data"
        network[axes] = network.get(axes, 0.0) + one.times * path.seconds(one) / REACHED["network"]
    return Roofline(products, memory, network, flops, traffic)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step is, in totals.

    Attributes:
        flops: operations of products over all devices.
        tokens: of a step.
        width, layers: of the model, all its stacks.
        parameters: number of them.
        microbatches: of a step.
        recomputes: whether the backward pass runs the layers again.
        dtype: compute type.
    """

    flops: float
    tokens: float
    width: int
    layers: int
    parameters: float
    microbatches: int = 1
    recomputes: bool = False
    dtype: str = "bfloat16"


def of_estimate(work: Work, topology: Any, mesh: dict[str, int], estimate: Any) -> Roofline:
    """The Roofline by totals: parameters are gathered twice and gradients scattered once for each microbatch, and each
    layer adds its results up over `tensor` twice in each direction.

    Args:
        work: Work.
        topology: topologies.Topology with a chip.
        mesh: {axis: devices}.
        estimate: memory.Estimate for that mesh.
    """
    chip, devices = topology.chip, topology.devices
    rate = chip.rate("bfloat16" if chip.is_tpu else work.dtype) * REACHED["products"]
    bandwidth = chip.bandwidth / chip.cores * REACHED["memory"]
    size = 2 if work.dtype == "bfloat16" else 4
    state = estimate.parameters + estimate.optimizer + estimate.gradients
    traffic = 2 * state + estimate.traffic
    network, within = {}, 1
    for axis in reversed(mesh):  # the last axes lie nearest to each other
        count = mesh[axis]
        if count == 1:
            continue
        one = _transfers_of(work, mesh, axis, size)
        far = within * count > topology.domain
        speed = _speed(topology, count, within) if not far else chip.network / chip.cores
        network[axis] = one * (count - 1) / count / speed / REACHED["network"]
        within *= count
    return Roofline(work.flops / devices / rate, traffic / bandwidth, network, work.flops / devices, traffic)


def _transfers_of(work, mesh, axis, size):
    """Bytes that a device sends along an axis in a step, but for the factor (n - 1) / n."""
    rows = mesh["data"] * mesh["fsdp"]
    held = work.parameters / mesh["tensor"]
    if axis == "fsdp":
        return held * size * 3 * work.microbatches
    if axis == "data":
        return held / mesh["fsdp"] * size * 2
    results = work.tokens / rows / mesh["sequence"] * work.width * size * work.layers
    return results * 2 * (5 if work.recomputes else 4) if axis == "tensor" else results * 6


def _speed(topology, count, within):
    """Bytes a second that a device sends to its neighbours along an axis of `count` devices."""
    chip = topology.chip
    if not chip.is_tpu:
        return chip.link
    axes, left = 0, count
    for size in sorted(topology.shape):
        if left > 1:
            axes, left = axes + 1, left // size
    return chip.link * 2 * max(1, min(axes, chip.dimensions)) / chip.cores


def model_flops(parameters: float, layers: int, width: int, length: int, tokens: float) -> float:
    """Operations that published MFU counts: (6 N + 12 L d S) for each token (Chowdhery et al. 2022, appendix B).

    Args:
        parameters: N, without the table of positions.
        layers, width, length: L, d and S, tokens of a row; attention is not halved for causal masks.
        tokens: how many.
    """
    return (6 * parameters + 12 * layers * width * length) * tokens
