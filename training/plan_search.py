"""Which settings a step fits with: meshes, microbatches and recomputation, estimated, the fastest or nearest first."""

import contextlib
import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cloze import models
from cloze.errors import ConfigError, UserError
from cloze.models.heads import TRANSFORMERS
from cloze.parallel import chips, roofline, topologies
from cloze.parallel import mesh as meshes
from cloze.parallel.memory import Estimate, device_memory
from cloze.training import planning, plans

REMAT = ("none", "dots", "full")
MOST_MICROBATCHES = 64
MOST_TENSOR = 16  # beyond it, a device's share of a product is small and all devices wait for each other


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run a step.

    Attributes:
        mesh: {axis: devices}.
        microbatches, remat, dtype: options.
        estimate: memory.Estimate.
        seconds: predicted of a step, or None for devices without a data sheet.
        changes: settings in which it differs from the configuration, as flags.
    """

    mesh: dict[str, int]
    microbatches: int
    remat: str
    dtype: str
    estimate: Estimate
    seconds: float | None
    changes: tuple[str, ...]

    def line(self) -> str:
        """The candidate for people."""
        time = "" if self.seconds is None else f", {self.seconds:.3g} s a step"
        return f"{self.estimate.peak / plans.GIB:.2f} GiB{time}: {' '.join(self.changes) or 'as the config has it'}"


def meshes_for(config: Any, topology: Any) -> Iterator[dict[str, int]]:
    """All meshes of data, fsdp and tensor (sequence as the configuration has it) over which everything divides."""
    model, devices = planning.model_of(config), topology.devices
    slices = config.mesh.slices or topology.slices
    sequence = max(1, config.mesh.sequence)
    powers = [2**k for k in range(devices.bit_length()) if devices % 2**k == 0]
    for tensor, fsdp in itertools.product((t for t in powers if t <= MOST_TENSOR), powers):
        if devices % (tensor * fsdp * sequence):
            continue
        shape = (devices // (tensor * fsdp * sequence), fsdp, tensor, sequence)
        if slices > 1 and meshes.over_slices(shape, slices, config.mesh.slices) is None:
            continue
        try:
            meshes.check_sizes(config, model, shape)
        except UserError:
            continue
        yield dict(zip(meshes.MESH_AXES, shape, strict=True))


def variants(config: Any, topology: Any) -> Iterator[Any]:
    """The configuration with all microbatches, fewest first, and all recomputation: what a search tries."""
    counts = sorted({config.train.microbatches, *(2**k for k in range(MOST_MICROBATCHES.bit_length()))})
    yield from _combined(config, topology, counts, REMAT, [models.resolve(config.model).dtype])


def savers(config: Any, topology: Any) -> Iterator[Any]:
    """The configuration, and with about 2, 4, 8, 16 and 32 times the microbatches, more recomputation or bfloat16.

    Far fewer than `variants`, and all need less memory: advice is given in seconds.
    """
    own, count, rows = models.resolve(config.model), config.train.microbatches, config.train.batch_size
    with contextlib.suppress(UserError):
        mesh = planning.mesh_of(config, topology)
        rows //= mesh["data"] * mesh["fsdp"]
    more = (next((n for n in range(factor * count, rows + 1) if rows % n == 0), count) for factor in (2, 4, 8, 16, 32))
    counts = [count, *more]
    remats = REMAT[REMAT.index(own.remat) :] if own.remat in REMAT else (own.remat, REMAT[-1])
    yield from _combined(config, topology, counts, remats, [own.dtype])
    if own.dtype != "bfloat16":
        yield from _combined(config, topology, counts, [own.remat], ["bfloat16"])


def _combined(config, topology, counts, remats, dtypes):
    """The configuration with all combinations that divide."""
    transformer = models.resolve(config.model).architecture in TRANSFORMERS
    counts = [count for count in dict.fromkeys(counts) if config.train.batch_size % count == 0]
    for dtype, remat, count in itertools.product(dtypes, remats if transformer else ("none",), counts):
        one = copy.deepcopy(config)
        one.model.update(remat=remat, dtype=dtype)
        one.train.microbatches = count
        if any(True for _ in meshes_for(one, topology)):
            yield one


def candidates(
    config: Any, topology: Any, tried: Iterable[Any] | None = None, report: Callable[[str], None] = print
) -> list[Candidate]:
    """All ways to run a step that can be estimated.

    A trace takes about a second; there is one for each remat policy and number of microbatches, and one for all meshes.

    Args:
        config: a configuration; it stays as it is.
        topology: topologies.Topology.
        tried: the configuration with other settings, each on all meshes; None: of `variants` those that may be the
            fastest. More microbatches take no less time: none are added to what takes longer already than what fits.
        report: called with what is tried.
    """
    found, ours, best, shortest = [], None, math.inf, {}
    try:
        ours = planning.mesh_of(config, topology)
    except UserError:
        pass
    for one in variants(config, topology) if tried is None else tried:
        if tried is None and shortest.get(one.model.remat, 0.0) >= best:
            continue
        try:
            planned = planning.on_one_device(one, topology)
            work = plans.work_of(planned)
        except UserError:
            continue  # an objective that compares the rows of a step takes no microbatches
        report(f"  remat {one.model.remat}, {one.train.microbatches} microbatches, {one.model.dtype}")
        for mesh in meshes_for(one, topology):
            estimate = planned.estimator(mesh)
            time = roofline.of_estimate(work, topology, mesh, estimate) if topology.chip else None
            found.append(
                Candidate(
                    mesh, one.train.microbatches, one.model.remat, one.model.dtype, estimate,
                    time.seconds if time else None, _changes(config, ours, one, mesh),
                )
            )  # fmt: skip
        if topology.chip:
            seconds = [
                c.seconds for c in found if (c.remat, c.microbatches) == (one.model.remat, one.train.microbatches)
            ]
            shortest[one.model.remat] = min(seconds)
            best = min((c.seconds for c in fastest(found, topology.chip.device_memory)), default=math.inf)
    return found


def _changes(config, ours, one, mesh):
    changes = [f"--config.mesh.{axis}={size}" for axis, size in mesh.items() if ours is None or ours[axis] != size]
    for section, name in (("train", "microbatches"), ("model", "remat"), ("model", "dtype")):
        if config[section][name] != one[section][name]:
            changes.append(f"--config.{section}.{name}={one[section][name]}")
    return tuple(changes)


def fastest(found: list[Candidate], available: float) -> list[Candidate]:
    """Those that fit in `available` bytes, the fastest first."""
    return sorted((c for c in found if c.estimate.peak <= available), key=lambda c: (c.seconds or 0.0, len(c.changes)))


def nearest(found: list[Candidate], available: float) -> list[Candidate]:
    """Those that fit, with the fewest changes first, then the fastest."""
    return sorted(fastest(found, available), key=lambda c: (len(c.changes), c.seconds or 0.0))


def advice(config: Any, topology: Any, available: float, found: list[Candidate] | None = None) -> list[str]:
    """Lines on what to change so that a step fits, the smallest change first; or how many devices it would take.

    Args:
        config: a configuration.
        topology: topologies.Topology.
        available: bytes that a device has.
        found: `candidates`, where they are known.
    """
    if found is None:
        found = candidates(config, topology, savers(config, topology), lambda line: None)
    fitting = nearest(found, available)
    if fitting:
        return ["What would fit, by the estimate, the smallest change first:", *(f"  {c.line()}" for c in fitting[:4])]
    if not found:
        return ["No setting divides over these devices"]
    least = min(found, key=lambda one: one.estimate.peak)
    text = f"Nothing fits; the least is {least.line()}"
    held = least.estimate.parameters + least.estimate.optimizer + least.estimate.gradients
    if held > available / 2:
        more = 2 ** math.ceil(math.log2(held / (available / 2)))
        text += f". Take {more} times as many devices and cut parameters over them (mesh.fsdp)"
    else:
        text += ". Lower train.batch_size or data.sequence_length, or take more devices"
    return [text]


def out_of_memory(error: Exception, run: Any) -> ConfigError | None:
    """What to change in a run whose devices have run out of memory; None: the error is another.

    Args:
        error: that JAX raised.
        run: training.run.Run.
    """
    said = str(error)
    if "RESOURCE_EXHAUSTED" not in said:
        return None
    config, device = run.config, run.mesh.devices.flat[0]
    topology = topologies.Topology("here", chips.of_kind(device.device_kind), (run.mesh.size,))
    found = candidates(config, topology, savers(config, topology), lambda line: None)
    ours = next((one.estimate.peak for one in found if not one.changes), math.inf)
    available = min(device_memory() or math.inf, 0.95 * ours)
    advised = "\n".join(advice(config, topology, available, found))
    return ConfigError(
        f"a device ran out of memory: {said.splitlines()[0][:300]}\nThe step needs about {ours / plans.GIB:.2f} GiB on "
        f"each device.\n{advised}\nOr lower train.batch_size or data.sequence_length."
    )


def apply(config: Any, candidate: Candidate) -> Any:
    """The configuration with the candidate's settings."""
    config = copy.deepcopy(config)
    config.mesh.update(candidate.mesh)
    config.train.microbatches = candidate.microbatches
    config.model.update(remat=candidate.remat, dtype=candidate.dtype)
    return config
