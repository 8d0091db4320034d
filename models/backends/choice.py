"""Which backend computes an attention: a pure function of a Case, which holds all that the choice depends on."""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax

from cloze.errors import ConfigError
from cloze.models import axes, random_bits
from cloze.models.platforms import platform
from cloze.registry import Registry

PREFERENCE = ("splash", "cudnn", "flash", "local", "einsum")  # the first that can, and that is not slow, is taken
BLOCK = 128  # keys below which a kernel's blocks are mostly padding
BACKENDS = Registry("model.attention_backend", __package__)
UNFIT: dict[str, str] = {}  # {backend: why it must not be used on these devices}, see parallel.self_check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One attention, as far as the choice of its backend needs to know.

    Attributes:
        platform: cpu, gpu or tpu.
        capability: of an NVIDIA GPU, (9, 0); None: not known.
        rows, queries, keys, heads, kv_heads, head_dim: B, T, S, H, K, E of models.attention.
        dtype: of queries, keys and values.
        causal, window, strict, prefix: as models.inputs.Visibility has them.
        segments: whether rows have segments: padding, or several documents.
        ranks: whether they have ranks of their own, such as a prefix language model's.
        placed: whether queries stand anywhere in the row of keys, which a cache holds.
        bias_rows: rows of the bias on scores; 0: there is none.
        softcap: whether scores are bent.
        dropout: whether there is dropout on probabilities.
        counted: whether its bits come from the generator `counter`.
        row_cuts, head_cuts, length_cuts: devices along which the mesh cuts rows, heads and places within a row.
    """

    platform: str
    capability: tuple[int, int] | None = None
    rows: int = 8
    queries: int = 512
    keys: int = 512
    heads: int = 12
    kv_heads: int = 12
    head_dim: int = 64
    dtype: str = "bfloat16"
    causal: bool = False
    window: int = 0
    strict: bool = False
    prefix: int = 0
    segments: bool = False
    ranks: bool = False
    placed: bool = False
    bias_rows: int = 0
    softcap: bool = False
    dropout: bool = False
    counted: bool = True
    row_cuts: int = 1
    head_cuts: int = 1
    length_cuts: int = 1

    @property
    def kind(self) -> str:
        """The kind of layer in words, for the log."""
        rule = "ranked" if self.ranks else "causal" if self.causal else "bidirectional"
        words = [rule if self.queries == self.keys or self.placed else "cross"]
        words += [f"window {self.window}"] * bool(self.window) + ["segments"] * self.segments
        words += ["bias"] * bool(self.bias_rows) + ["soft cap"] * self.softcap + ["dropout"] * self.dropout
        return " + ".join(words)


class Backend:
    """What computes attention.

    Attributes:
        platforms: where `auto` considers it.
        interpreted: whether a CPU can interpret it, which is slow and made for tests.
    """

    platforms = ("cpu", "gpu", "tpu")
    interpreted = False

    def concerns(self, case: Case) -> bool:
        """Whether it is made for such devices and layers."""
        return case.platform in self.platforms

    def cannot(self, case: Case) -> str | None:
        """Why it does not compute this, in a few words; None: it does."""

    def slow(self, case: Case) -> str | None:
        """Why it should not, though it could; None: nothing speaks against it."""

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key):
        """As models.attention.attention. `dropout` is 0 or there is a `key`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Choice:
    """A backend for a case.

    Attributes:
        case: Case.
        backend: name of the backend.
        refused: (name, reason) of the backends that would have been preferred.
    """

    case: Case
    backend: str
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self):
        reasons = "; ".join(f"not {name}: {reason}" for name, reason in self.refused)
        return f"{self.case.kind} by {self.backend}" + (f" ({reasons})" if reasons else "")


def choose(case: Case) -> Choice:
    """The preferred backend that computes a case.

    A single query a row is bound by reading keys and values, however they are multiplied: einsum takes it, and all
    that reads a cache.
    """
    if case.placed or case.queries == 1:
        return Choice(case, "einsum")
    refused = []
    for name in PREFERENCE:
        backend = BACKENDS[name]()
        if not backend.concerns(case):
            continue
        reason = UNFIT.get(name) or backend.cannot(case) or backend.slow(case)
        if reason is None:
            return Choice(case, name, tuple(refused))
        refused.append((name, reason))
    raise AssertionError("einsum computes everything")


def asked(name: str, case: Case) -> Choice:
    """The backend that a configuration names; of layers without a window, `local` says nothing.

    Raises:
        ConfigError: it does not compute this.
    """
    backend = BACKENDS[name]()
    if name == "local" and not case.window:
        return choose(case)
    if name != "xla" and (case.placed or case.queries == 1):
        return Choice(case, "einsum")
    check_platform(name, case.platform)
    if reason := UNFIT.get(name) or backend.cannot(case):
        raise ConfigError(_refusal(name, reason))
    return Choice(case, name)


def check(config: Any) -> None:
    """Holds the backend that a ModelConfig names to what its layers need, as far as that is known without data.

    Raises:
        ConfigError: it does not compute them on any device.
    """
    if config.attention_backend == "auto" or not config.heads:
        return
    backend = BACKENDS[config.attention_backend]()
    for block in config.blocks:
        case = Case(
            platform=backend.platforms[0],
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            dtype=config.dtype,
            causal=config.architecture == "decoder",
            window=block.window,
            softcap=bool(block.softcap),
            dropout=bool(config.attention_dropout),
        )
        if (reason := backend.cannot(case)) and (block.window or config.attention_backend != "local"):
            raise ConfigError(_refusal(config.attention_backend, reason))


def check_platform(name: str, platform: str) -> None:
    """Holds a backend that is named to the devices there are; a CPU may interpret some, for tests.

    Raises:
        ConfigError: it does not run on them.
    """
    if name == "auto":
        return
    backend = BACKENDS[name]()
    if platform not in backend.platforms and not (backend.interpreted and platform == "cpu"):
        needs = " or ".join({"gpu": "an NVIDIA GPU", "tpu": "a TPU"}[p] for p in backend.platforms)
        raise ConfigError(_refusal(name, f"needs {needs}, here are devices of kind {platform}"))


def _refusal(name, reason):
    return f"model.attention_backend={name} {reason}: set model.attention_backend=auto, or change what it does not do"


def case_of(q_BTHE: Any, k_BSKE: Any, visibility: Any, bias: Any, softcap: float, dropout: float, key: Any) -> Case:
    """The Case of arrays, on the devices of the mesh in whose context they are traced, else on the default ones."""
    rows, queries, heads, head_dim = q_BTHE.shape
    kind, capability = devices()
    row_cuts, length_cuts, head_cuts = (cuts(name) for name in (axes.BATCH, axes.LENGTH, axes.ACT_HEADS))
    return Case(
        platform=kind,
        capability=capability,
        rows=rows,
        queries=queries,
        keys=k_BSKE.shape[1],
        heads=heads,
        kv_heads=k_BSKE.shape[2],
        head_dim=head_dim,
        dtype=q_BTHE.dtype.name,
        causal=visibility.causal and visibility.query_ranks is None,
        window=visibility.window,
        strict=visibility.strict,
        prefix=visibility.prefix,
        segments=visibility.query_segments is not None,
        ranks=visibility.query_ranks is not None,
        placed=visibility.placed,
        bias_rows=0 if bias is None else bias.shape[0],
        softcap=bool(softcap),
        dropout=bool(dropout),
        counted=not dropout or random_bits.is_counter(key),
        row_cuts=row_cuts,
        head_cuts=head_cuts,
        length_cuts=length_cuts,
    )


def devices() -> tuple[str, tuple[int, int] | None]:
    """(platform, compute capability or None) of the devices that a program is traced for."""
    found = platform()
    if found != "gpu" or jax.default_backend() != "gpu":
        return found, None
    capability = getattr(jax.devices()[0], "compute_capability", None)
    parts = str(capability).split(".")
    return found, (int(parts[0]), int(parts[1])) if len(parts) == 2 else None


def cuts(name: str) -> int:
    """Devices along which the mesh in context cuts an axis of activations."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return 1
    return math.prod(mesh.shape[axis] for axis in mesh_axes(name))


def mesh_axes(name: str) -> tuple[str, ...]:
    """The mesh axes of a logical axis, by the rules in context."""
    found = dict(nn.get_logical_axis_rules()).get(name)
    return () if found is None else (found,) if isinstance(found, str) else tuple(found)


def uneven(case: Case) -> str | None:
    """Why a kernel that runs on each device by itself cannot run on this mesh."""
    if case.length_cuts > 1:
        return f"does not run on rows cut along mesh.sequence={case.length_cuts}"
    if case.rows % case.row_cuts:
        return f"needs rows that divide by mesh.data*mesh.fsdp, got {case.rows} for {case.row_cuts}"
    if case.kv_heads % case.head_cuts:
        return f"needs key heads that divide by mesh.tensor, got {case.kv_heads} for {case.head_cuts}"
    return None


_choices: contextvars.ContextVar[list | None] = contextvars.ContextVar("choices", default=None)


@contextlib.contextmanager
def recorded() -> Iterator[list]:
    """Collects the choices that are made while something is traced, each once."""
    choices: list = []
    token = _choices.set(choices)
    try:
        yield choices
    finally:
        _choices.reset(token)


def note(choice: Choice) -> None:
    """Adds a choice to those that are being collected, if any are."""
    choices = _choices.get()
    if choices is not None and choice not in choices:
        choices.append(choice)


def line(choices: list) -> str:
    """One line for the log; empty if there was no attention."""
    return f"Attention: {', '.join(dict.fromkeys(map(str, choices)))}" if choices else ""
