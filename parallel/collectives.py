"""The collectives of a compiled program: which axis of the mesh, how many bytes, how often in a step."""

import dataclasses
import math
import re
from typing import Any

import numpy as np

from cloze.parallel.hlo import COLLECTIVES, Instruction, Module

_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\]\s*(?:device_ids=\([^)]*\)\s*)?\{([^}]*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{\{([\d,]+)\}")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Transfers of one kind, among the same devices, of the same size.

    Attributes:
        kind: all-reduce, all-gather, reduce-scatter, all-to-all or collective-permute.
        axes: axes of the mesh along which its devices differ.
        members: partitions (places in the mesh, counted through) of the first group.
        bytes: of the whole array of a group: what all-gather gives, what the others take.
        times: how often in a step.
    """

    kind: str
    axes: tuple[str, ...]
    members: tuple[int, ...]
    bytes: float
    times: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends, once: of algorithms that send least, such as rings."""
        count = len(self.members)
        share = (count - 1) / count
        return self.bytes * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)


def of(module: Module, mesh: dict[str, int]) -> list[Collective]:
    """All collectives of a program, those alike joined, the largest sums first.

    Args:
        module: the program.
        mesh: {axis: devices}, in the order in which partitions are numbered.
    """
    found: dict[tuple, int] = {}
    for name, times in module.runs.items():
        channels = set()  # parts of one transfer that is spread over several fusions share a channel
        for computation, instruction in _reached(module, name):
            kind = _kind(instruction, computation)
            if kind is None:
                continue
            channel = re.search(r"channel_id=(\d+)", instruction.attributes)
            if channel and channel[1] in channels:
                continue
            channels.update(channel.groups() if channel else ())
            members = _members(instruction.attributes, math.prod(mesh.values()))
            if len(members) < 2:
                continue
            key = (kind, _axes(members, mesh), members, _size(module, computation, instruction, kind, len(members)))
            found[key] = found.get(key, 0) + times
    collectives = [Collective(*key, times) for key, times in found.items()]
    return sorted(collectives, key=lambda one: -one.sent * one.times)


def _reached(module, name):
    """(computation, instruction) of a computation, and of what it runs but loops and branches."""
    for instruction in module.computations.get(name, {}).values():
        yield name, instruction
        if instruction.opcode in ("fusion", "async-start", "async-update", "async-done", "custom-call"):
            for called in instruction.called:
                yield from _reached(module, called)


def _kind(instruction: Instruction, computation: str) -> str | None:
    opcode = instruction.opcode.removesuffix("-start")
    if opcode not in COLLECTIVES:
        return None
    # XLA for TPUs writes a reduce-scatter as a fusion of an all-reduce and a slice, under this name.
    return "reduce-scatter" if computation.startswith("all-reduce-scatter") and opcode == "all-reduce" else opcode


def _size(module, computation, instruction, kind, count):
    there = module.computations[computation]
    taken = sum(a.bytes for name in instruction.operands if name in there for a in there[name].arrays)
    given = sum(array.bytes for array in instruction.arrays)
    if kind == "all-gather":
        return taken * count if taken else given
    return taken or given


def _members(attributes, devices):
    """Partitions of the first group."""
    if match := _MESH.search(attributes):
        sizes = [int(size) for size in re.findall(r"=(\d+)", match[1])]
        names = re.findall(r"'([^']+)'", match[1])
        chosen = re.findall(r"'([^']+)'", match[2])
        ids = np.arange(math.prod(sizes)).reshape(sizes)
        ids = ids[tuple(slice(None) if name in chosen else 0 for name in names)]
        return tuple(ids.ravel().tolist())
    if match := _IOTA.search(attributes):
        groups, dims = ([int(n) for n in match[i].split(",")] for i in (1, 2))
        ids = np.arange(math.prod(dims)).reshape(dims)
        if match[3]:
            ids = ids.transpose([int(n) for n in match[3].split(",")])
        return tuple(ids.reshape(groups)[0].tolist())
    if match := _LISTED.search(attributes):
        return tuple(int(n) for n in match[1].split(","))
    return tuple(range(devices))  # no groups are all devices


def _axes(members, mesh):
    places = np.stack(np.unravel_index(np.asarray(members), tuple(mesh.values())))
    return tuple(axis for axis, at in zip(mesh, places, strict=True) if np.any(at != at[0]))


@dataclasses.dataclass(frozen=True)
class Route:
    """How fast the devices of a group exchange data.

    Attributes:
        within, across: devices of the group that a fast interconnect joins, and how many such islands there are.
        fast: bytes a second that each device sends over the interconnect.
        slow: likewise over the data-centre network.
    """

    within: int
    across: int
    fast: float
    slow: float

    def seconds(self, collective: Collective) -> float:
        """Of one transfer: first within the islands, then what is left between them."""
        if self.across == 1:
            return collective.sent / self.fast
        part = dataclasses.replace(collective, members=tuple(range(self.within)))
        between = dataclasses.replace(
            collective, members=tuple(range(self.across)), bytes=collective.bytes / self.within
        )
        inside = part.sent / self.fast if self.within > 1 else 0.0
        return inside + between.sent / self.slow


def route(topology: Any, devices: list | None, members: tuple[int, ...]) -> Route:
    """The Route of a group.

    Args:
        topology: topologies.Topology with a chip.
        devices: those of the mesh, counted through; None: not known, one axis of the torus is taken.
        members: places of the group among them.
    """
    chip = topology.chip
    if not chip.is_tpu:
        across = (
            -(-len(members) // topology.domain)
            if members[-1] // topology.domain != members[0] // topology.domain
            else 1
        )
        within = max(1, sum(m // topology.domain == members[0] // topology.domain for m in members))
        return Route(within, max(across, -(-len(members) // within)), chip.link, chip.network)
    if devices is None:
        return Route(len(members), 1, chip.link * 2 / chip.cores, chip.network / chip.cores)
    group = [devices[m] for m in members]
    slices = {getattr(device, "slice_index", 0) for device in group}
    first = [d for d in group if getattr(d, "slice_index", 0) == getattr(group[0], "slice_index", 0)]
    coords = np.asarray([device.coords for device in first])
    speed = 0.0
    for axis, size in enumerate(topology.shape):
        reached = len(set(coords[:, axis].tolist()))
        if reached > 1:  # a whole axis is a ring, which is sent around in both directions; a part of one is a line
            speed += chip.link * (2 if reached == size and size > 2 else 1)
    # Cores of one chip share its links, and exchange data in its memory.
    return Route(len(first), len(slices), (speed or chip.bandwidth / 2) / chip.cores, chip.network / chip.cores)
