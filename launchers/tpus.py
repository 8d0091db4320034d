"""What schedulers call slices of TPUs: labels, topologies, and how many hosts they are.

Sources: src/xpk/core/system_characteristics.py of AI-Hypercomputer/xpk for labels, topologies, accelerator types
and the chips of a host, to be held against "Plan TPUs in GKE"
(cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus); docs.cloud.google.com/tpu/docs/runtimes for runtimes,
which also says that the Cloud TPU API does not serve TPU7x and later.
"""

import dataclasses
import functools
import math

from cloze.errors import ConfigError
from cloze.options import suggest

_CUBE = 4  # chips along each side of the cubes that larger slices are made of


@dataclasses.dataclass(frozen=True)
class Generation:
    """A generation of TPUs, as schedulers know it.

    Attributes:
        label: value of the node label cloud.google.com/gke-tpu-accelerator.
        prefix: of names of accelerator types, as in v5p-16.
        counts: what the number in such a name counts, for one chip: TensorCores or chips.
        listed: topologies; those with more than 64 chips are made of cubes if `most` is not 0.
        most: chips of the largest slice that is made of cubes.
        runtime: software of a VM; "": the Cloud TPU API does not have this generation.
    """

    label: str
    prefix: str
    counts: int
    listed: tuple[str, ...]
    most: int = 0
    runtime: str = ""

    @functools.cached_property
    def topologies(self) -> tuple[str, ...]:
        """All topologies, small ones first."""
        sides = range(_CUBE, self.most // _CUBE**2 + 1, _CUBE)
        cubes = [(a, b, c) for a in sides for b in sides if a <= b for c in sides if b <= c and a * b * c <= self.most]
        made = sorted((cube for cube in cubes if math.prod(cube) > _CUBE**3), key=lambda cube: (math.prod(cube), cube))
        return (*self.listed, *("x".join(map(str, cube)) for cube in made))


_SQUARES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_BLOCKS = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4")

GENERATIONS = {
    "v4": Generation("tpu-v4-podslice", "v4", 2, _BLOCKS, 4096, "tpu-ubuntu2204-base"),
    "v5e": Generation("tpu-v5-lite-podslice", "v5litepod", 1, _SQUARES, runtime="v2-alpha-tpuv5-lite"),
    "v5p": Generation("tpu-v5p-slice", "v5p", 2, _BLOCKS, 8960, "v2-alpha-tpuv5"),
    "v6e": Generation("tpu-v6e-slice", "v6e", 1, _SQUARES, runtime="v2-alpha-tpuv6e"),
    "tpu7x": Generation("tpu7x", "tpu7x", 2, ("1x1x1", *_BLOCKS), 9216),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of TPUs: chips with a network of their own, on one host or several.

    Attributes:
        generation: what it is of.
        name: of the generation.
        topology: sides, as in 4x8.
        chips: number of all chips.
        hosts: number of hosts, each with one process of a run.
    """

    generation: Generation
    name: str
    topology: str
    chips: int
    hosts: int

    @property
    def chips_per_host(self) -> int:
        """Chips that a process sees."""
        return self.chips // self.hosts

    @property
    def accelerator_type(self) -> str:
        """What Cloud TPU calls it, as in v5p-16, which says the size and not the topology."""
        return f"{self.generation.prefix}-{self.chips * self.generation.counts}"


def find(name: str, topology: str, chips_per_host: int = 0) -> Slice:
    """A slice by the names that users give.

    Args:
        name: of a generation, "v5e".
        topology: "4x8".
        chips_per_host: 4 for hosts of four chips where eight on one host are usual; 0: what is usual.

    Raises:
        ConfigError: there is no such generation or topology, or its hosts do not have that many chips.
    """
    if name not in GENERATIONS:
        raise ConfigError(
            f"job.accelerator={name!r} is no TPU{suggest(name, GENERATIONS)}; TPUs: {_listed(GENERATIONS)}"
        )
    generation = GENERATIONS[name]
    if not topology:
        raise ConfigError(
            f"job.accelerator={name} needs job.topology, how its chips are arranged: {_listed(generation.listed)}"
        )
    if topology not in generation.topologies:
        more = f"; above 64 chips AxBxC, all multiples of 4, A <= B <= C, up to {generation.most} chips"
        hint = suggest(topology, generation.topologies)
        raise ConfigError(
            f"job.topology={topology!r} does not exist for {name}{hint}; there are {_listed(generation.listed)}"
            + (more if generation.most else "")
        )
    chips = math.prod(map(int, topology.split("x")))
    usual = chips if chips == 1 or topology == "2x4" else 4
    held = chips_per_host or usual
    if held not in {usual, min(chips, 4)}:
        raise ConfigError(f"job.chips_per_host={held}: a host of {name} {topology} has {usual}; leave it at 0")
    return Slice(generation, name, topology, chips, chips // held)


def find_vm(name: str, topology: str) -> Slice:
    """As `find`, for the Cloud TPU API, which has no TPU7x and knows slices by their size.

    Raises:
        ConfigError: as `find`, or the API does not give this generation or topology.
    """
    found = find(name, topology)
    if not found.generation.runtime:
        raise ConfigError(f"the Cloud TPU API does not serve {name}: use job.backend=jobset or gcluster, on GKE")
    same = [other for other in found.generation.topologies if math.prod(map(int, other.split("x"))) == found.chips]
    usual = min(same, key=lambda other: sum(map(int, other.split("x"))))
    if topology != usual:
        raise ConfigError(
            f"the Cloud TPU API gives {found.accelerator_type} as {usual}, not as {topology}: set job.topology={usual} "
            "or use job.backend=jobset or gcluster, on GKE"
        )
    return found


def _listed(names):
    return ", ".join(names)
