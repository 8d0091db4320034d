"""Devices that are not there: TPU slices that libtpu compiles for, and CPU devices in place of anything else.

A topology is written `v5p:8x8x16`, several slices of it over the data-centre network `v5p:8x8x16*4`; GPUs by their
number, `h100:8`; fake CPU devices `cpu:8`.
"""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax

from cloze.errors import ConfigError
from cloze.parallel import chips

MOST_FAKE = 512  # CPU devices of one process; XLA compiles for them one by one
INSTALL = "pip install -e '.[plan]' (or: pip install libtpu)"
_FORM = re.compile(r"(?P<chip>[a-z0-9_]+):(?P<shape>\d+(x\d+)*)(\*(?P<slices>\d+))?")


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices that a program is planned for.

    Attributes:
        text: as the user wrote it.
        chip: chips.Chip; None: fake CPU devices.
        shape: chips along each axis of the torus of a slice; of GPUs and CPUs one number.
        slices: how many of them, joined by the data-centre network.
    """

    text: str
    chip: chips.Chip | None
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        """Chips in all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def devices(self) -> int:
        """JAX devices in all slices."""
        return self.chips * (self.chip.cores if self.chip else 1)

    @property
    def platform(self) -> str:
        """ "tpu", "gpu" or "cpu": the devices that the program is for."""
        if self.chip is None:
            return "cpu"
        return "tpu" if self.chip.is_tpu else "gpu"

    @property
    def compiler(self) -> str:
        """ "tpu" or "cpu": what the program can be compiled for without its devices."""
        return "tpu" if self.platform == "tpu" else "cpu"

    @property
    def domain(self) -> int:
        """Devices that are joined by something faster than the data-centre network."""
        if self.chip is None:
            return self.devices
        cores = self.chip.cores
        return math.prod(self.shape) * cores if self.chip.is_tpu else min(self.chip.domain, self.chips) * cores


def parse(text: str) -> Topology:
    """The Topology that a user wrote.

    Raises:
        ConfigError: it is none; the message says what is wrong and shows one that is right.
    """
    match = _FORM.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(
            f"--topology={text!r} is no topology: write the chip and its slice as v5p:4x4x4, several slices as "
            "v5p:4x4x4*2, GPUs as h100:8, fake CPU devices as cpu:8"
        )
    shape, slices = tuple(int(size) for size in match["shape"].split("x")), int(match["slices"] or 1)
    if not all(shape) or not slices:
        raise ConfigError(f"--topology={text!r}: no size may be 0")
    if match["chip"] == "cpu":
        return Topology(text, None, (math.prod(shape),), slices)
    chip = chips.get(match["chip"])
    if chip.is_tpu and len(shape) != chip.dimensions:
        example = "x".join(["4"] * chip.dimensions)
        raise ConfigError(
            f"--topology={text!r}: a slice of {chip.name} has {chip.dimensions} axes, as {chip.name}:{example}"
        )
    if not chip.is_tpu:
        shape = (math.prod(shape),)
    if chip.is_tpu and math.prod(shape) > chip.domain:
        raise ConfigError(
            f"--topology={text!r} asks for {math.prod(shape)} chips, but a slice of {chip.name} has at most "
            f"{chip.domain}: write several slices, as {chip.name}:4x4*2"
        )
    return Topology(text, chip, shape, slices)


def prepare(topology: Topology, compiles: bool = True) -> None:
    """Sets what JAX reads when it opens its backend; to be called before anything asks for devices.

    Args:
        topology: what is planned for.
        compiles: whether its devices are needed; else one CPU device is.

    Raises:
        ConfigError: libtpu is not installed, or there are too many fake devices.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")
    if not compiles:
        return
    if topology.compiler == "tpu":
        need_libtpu(topology)
        # No metadata server is asked, no other process that compiles is in the way, nothing is said of absent chips.
        os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
        return
    if topology.devices > MOST_FAKE:
        raise ConfigError(
            f"--topology={topology.text}: at most {MOST_FAKE} devices other than TPUs can be compiled for, as that "
            "many fake CPU devices; add --estimate, which compiles nothing"
        )
    fake_devices(topology.devices)


def fake_devices(count: int) -> None:
    """Has JAX open `count` CPU devices."""
    flag = "--xla_force_host_platform_device_count"
    kept = [part for part in os.environ.get("XLA_FLAGS", "").split() if not part.startswith(flag)]
    os.environ["XLA_FLAGS"] = " ".join([*kept, f"{flag}={count}"])


def need_libtpu(topology: Topology) -> None:
    """Refuses where libtpu is missing, which compiles for TPUs and needs none.

    Raises:
        ConfigError: names the command that installs it.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            f"--topology={topology.text} is compiled by libtpu, which is not installed: {INSTALL}; it needs no TPU. "
            "Or add --estimate, which compiles nothing"
        )


def devices(topology: Topology) -> list[Any]:
    """The devices of a topology, after `prepare`; nothing can run on those of a TPU.

    Raises:
        ConfigError: libtpu knows no such slice.
    """
    if topology.compiler == "cpu":
        return jax.devices("cpu")[: topology.devices]
    from jax.experimental import topologies

    name = f"{topology.chip.name}:{'x'.join(map(str, topology.shape))}"
    extra = {"num_slices": topology.slices} if topology.slices > 1 else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **extra).devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"libtpu does not know --topology={topology.text}: {str(error).splitlines()[0]}") from None
    return list(found)
