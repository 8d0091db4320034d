"""What accelerators can do, from their makers' data sheets and pages that repeat them; the one table of it.

A *device* is what JAX calls one: of TPU v4 and 7x half a chip as topologies list them (two cores a chip), else a whole
chip. All figures are per chip. Interconnect figures are bytes a second that leave a chip in one direction.
"""

import dataclasses

from cloze.errors import ConfigError
from cloze.options import suggest

GIB, GB = 2**30, 1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One kind of accelerator.

    Attributes:
        name: as a topology begins, "v5p".
        kinds: substrings of JAX's device_kind, lower case.
        cores: JAX devices in a chip.
        bfloat16, float32: FLOP/s of dense matrix products. TPUs multiply in bfloat16 unless told otherwise; float32 is
            what three passes of it give. Of NVIDIA's, float32 is TF32.
        memory: bytes of a chip's memory.
        reserved: bytes of it that a program cannot have.
        bandwidth: bytes a second to and from it.
        link: bytes a second over one link of the interconnect, one direction.
        links: links along each axis of the torus that a collective can use at once; of a switched network 1.
        dimensions: axes of the torus; 0: a switch joins the chips of a host or a domain.
        domain: chips that this interconnect joins at most; beyond it is the data-centre network.
        network: bytes a second of the data-centre network for each chip, one direction.
        watts: thermal design power of a chip, or 0 where the maker does not print it.
        sources: pages with the figures, read in November 2026.
    """

    name: str
    kinds: tuple[str, ...]
    cores: int = 1
    bfloat16: float
    float32: float
    memory: float
    reserved: float = 0.0
    bandwidth: float
    link: float
    links: int = 2
    dimensions: int
    domain: int
    network: float
    watts: float = 0.0
    sources: tuple[str, ...]

    @property
    def is_tpu(self) -> bool:
        """Whether libtpu compiles for it."""
        return self.dimensions > 0

    def rate(self, dtype: str) -> float:
        """FLOP/s of one JAX device for matrix products in "bfloat16" or "float32"."""
        return getattr(self, dtype) / self.cores

    @property
    def device_memory(self) -> float:
        """Bytes that a program has on one JAX device."""
        return (self.memory - self.reserved) / self.cores


_TPU = "https://docs.cloud.google.com/tpu/docs/{}"
# Links of TPUs, what they reach, and the data-centre network of those whose own page has none: "TPU specs".
_BOOK = "https://jax-ml.github.io/scaling-book/tpus"
# NVIDIA's: products, memory and bandwidth as in "How to think about GPUs"; links, network and power as in MLCommons'
# descriptions of systems, of the A100 as in Calculon's.
_GPUS = "https://jax-ml.github.io/scaling-book/gpus"
_MLCOMMONS = "https://github.com/mlcommons/inference_results_{}/systems/{}"
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4", kinds=("tpu v4",), cores=2, bfloat16=275e12, float32=275e12 / 3, memory=32 * GIB,
            bandwidth=1200 * GB, link=45 * GB, dimensions=3, domain=4096, network=6.25 * GB, watts=192,
            sources=(_TPU.format("v4"), _BOOK),
        ),
        Chip(
            name="v5e", kinds=("tpu v5 lite", "tpu v5e"), bfloat16=197e12, float32=197e12 / 3, memory=16 * GIB,
            bandwidth=819 * GB, link=45 * GB, dimensions=2, domain=256, network=3.125 * GB,
            sources=(_TPU.format("v5e"), _BOOK),
        ),
        Chip(
            name="v5p", kinds=("tpu v5",), bfloat16=459e12, float32=459e12 / 3, memory=95 * GIB, bandwidth=2765 * GB,
            link=90 * GB, dimensions=3, domain=8960, network=6.25 * GB, sources=(_TPU.format("v5p"), _BOOK),
        ),
        Chip(
            name="v6e", kinds=("tpu v6",), bfloat16=918e12, float32=918e12 / 3, memory=32 * GIB, bandwidth=1638 * GB,
            link=90 * GB, dimensions=2, domain=256, network=12.5 * GB, sources=(_TPU.format("v6e"), _BOOK),
        ),
        Chip(
            name="tpu7x", kinds=("tpu7x",), cores=2, bfloat16=2307e12, float32=2307e12 / 3, memory=192 * GIB,
            bandwidth=7380 * GB, link=90 * GB, dimensions=3, domain=9216, network=12.5 * GB,
            sources=(_TPU.format("tpu7x"), _BOOK),
        ),
        Chip(
            name="a100", kinds=("a100",), bfloat16=312e12, float32=156e12, memory=80 * GB, bandwidth=2039 * GB,
            link=300 * GB, links=1, dimensions=0, domain=8, network=25 * GB, watts=400,
            sources=(_GPUS, "https://github.com/calculon-ai/calculon/blob/main/systems/a100_80g.json"),
        ),
        Chip(
            name="h100", kinds=("h100",), bfloat16=989e12, float32=494e12, memory=80 * GB, bandwidth=3350 * GB,
            link=450 * GB, links=1, dimensions=0, domain=8, network=50 * GB, watts=700,
            sources=(_GPUS, _MLCOMMONS.format("v4.1/blob/main/closed/NVIDIA", "H200-SXM-141GBx8_TRT_MaxQ.json")),
        ),
        Chip(
            name="h200", kinds=("h200",), bfloat16=989e12, float32=494e12, memory=141 * GB, bandwidth=4800 * GB,
            link=450 * GB, links=1, dimensions=0, domain=8, network=50 * GB, watts=700,
            sources=(_GPUS, _MLCOMMONS.format("v4.1/blob/main/closed/NVIDIA", "H200-SXM-141GBx8_TRT_MaxQ.json")),
        ),
        Chip(
            name="b200", kinds=("b200",), bfloat16=2250e12, float32=1100e12, memory=180 * GB, bandwidth=8000 * GB,
            link=900 * GB, links=1, dimensions=0, domain=8, network=50 * GB, watts=1000,
            sources=(_GPUS, _MLCOMMONS.format("v6.0/blob/main/closed/Nebius", "nebius_b200_n1.json")),
        ),
    )
}  # fmt: skip


def get(name: str) -> Chip:
    """The chip of a name.

    Raises:
        ConfigError: there is none; the message lists all.
    """
    if name not in CHIPS:
        raise ConfigError(f"unknown chip {name!r}{suggest(name, CHIPS) or '.'} Known: {', '.join(CHIPS)}")
    return CHIPS[name]


def of_kind(kind: str) -> Chip | None:
    """The chip that JAX calls `kind` (device.device_kind); None: not in the table, such as a CPU."""
    kind = kind.lower()
    found = [(len(part), chip) for chip in CHIPS.values() for part in chip.kinds if part in kind]
    return max(found, key=lambda pair: pair[0])[1] if found else None
