"""A Hugging Face directory as a model of ours, every parameter born on its devices.

The host never holds more than one layer's array of one parameter (or one parameter that is not stacked): each device's
shard is filled from the slice of the file that it needs, and a stacked parameter is filled layer by layer on the
devices.
"""

import collections
import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from cloze import models
from cloze.errors import ConfigError, DataError
from cloze.interop import files, settings
from cloze.interop import plan as plans
from cloze.models import names
from cloze.parallel import mesh as meshes

DTYPES = ("float32", "bfloat16")
_ROWS = 1 << 16  # rows of a table that are compared at a time


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a directory's tensors.

    Attributes:
        class_name: the class of transformers that config.json names.
        codes: dtypes of the files.
        used: number of tensors that were read.
        parameters: number of our parameters, without the rows that pad the vocabulary.
        initialised: parameters that the source lacks: heads, drawn at random.
        unused: tensors that have no place here.
    """

    class_name: str
    codes: tuple[str, ...]
    used: int
    parameters: int
    initialised: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self):
        """A few lines for the console."""
        told = [f"{self.class_name}: {self.parameters:,} parameters from {self.used} tensors ({', '.join(self.codes)})"]
        if self.initialised:
            told.append(f"not in the files, initialised at random: {', '.join(self.initialised)}")
        if self.unused:
            told.append(f"in the files, not used: {_some(self.unused)}")
        return told


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model read from a directory.

    Attributes:
        model: models.Transformer.
        params: nested tree of parameters.
        report: Report.
        settings: config.json as a dict.
    """

    model: Any
    params: Any
    report: Report
    settings: dict


def load_hf(directory, mesh=None, dtype=None):
    """Reads a directory with config.json and safetensors.

    Args:
        directory: a local directory, as `save_pretrained` writes it.
        mesh: a mesh of parallel.mesh.make_mesh; None: the first device.
        dtype: "bfloat16" keeps and computes everything in bfloat16 (for inference); None: float32.

    Returns:
        (models.Transformer, nested tree of parameters). Run it as `model.apply({"params": params}, batch)`.

    Raises:
        ConfigError: a model that we cannot compute, or a tensor of another shape than config.json says.
        DataError: missing or damaged files, or tensors of the body that are not there.
    """
    loaded = read_hf(directory, mesh, dtype)
    return loaded.model, loaded.params


def read_hf(directory, mesh=None, dtype=None, heads=(), report=print):
    """As `load_hf`, with the story.

    Args:
        directory, mesh, dtype: see `load_hf`.
        heads: heads_out that the model shall have beyond those of its class; what the files lack of them is drawn at
            random, with a fixed seed.
        report: called with a few lines.

    Returns:
        Loaded.
    """
    if dtype not in (None, *DTYPES):
        raise ConfigError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    source = files.open_directory(directory)
    known, class_name, config = settings.read(source.settings, source.tensors)
    declared = plans.parameters(config)
    config = dataclasses.replace(
        config, heads_out=tuple(dict.fromkeys((*config.heads_out, *heads))), dtype=dtype or "float32"
    )
    wanted = plans.parameters(config)
    selection = _select(source, known, class_name, config, declared, wanted)
    unused = _unused(source, known, class_name, selection)

    params = _fill(source, selection, wanted, _shardings(wanted, mesh), config)
    story = Report(
        class_name=class_name,
        codes=tuple(source.codes),
        used=len(selection.used),
        parameters=sum(int(np.prod(plans.cut(n, config, wanted), dtype=np.int64)) for n in wanted.shapes),
        initialised=tuple(selection.missing),
        unused=tuple(unused),
    )
    for line in story.lines():
        report(line)
    return Loaded(models.Transformer(config), params, story, source.settings)


def offered(directory):
    """What a directory has to take parameters from.

    Args:
        directory: see `load_hf`.

    Returns:
        (ModelConfig of its class, {name: shape} of our parameters that its files hold).

    Raises:
        ConfigError, DataError: as `load_hf`.
    """
    source = files.open_directory(directory)
    known, class_name, config = settings.read(source.settings, source.tensors)
    wanted = plans.parameters(config)
    missing = _select(source, known, class_name, config, wanted, wanted).missing
    return config, {name: shape for name, shape in wanted.shapes.items() if name not in missing}


@dataclasses.dataclass(frozen=True)
class _Selection:
    """Which tensors are read.

    Attributes:
        parts: {our parameter: [(Piece, name of the tensor as the file spells it)]}.
        missing: our parameters that the files lack.
        base: the prefix of the body's names.
        used: names of the tensors that are read.
    """

    parts: dict
    missing: list
    base: str
    used: set


def _select(source, known, class_name, config, declared, wanted):
    """Finds the tensors of all parameters, and checks that they are there and of the right shapes."""
    base = _base(source.tensors, known, class_name)
    parts = plans.plan(known.rows(class_name), base, config, wanted)
    claimed = {part.theirs for part in parts if part.ours in declared.shapes}
    grouped, missing = collections.defaultdict(list), {}
    for name in wanted.shapes:
        grouped[name] = []
    for part in parts:
        mine = part.ours in declared.shapes or part.theirs not in claimed
        found = _find(source.tensors, part.theirs, known, base) if mine else None
        if found is None:
            missing.setdefault(part.ours, part.theirs)
        else:
            grouped[part.ours].append((part, found))
    for name, pairs in grouped.items():
        if not pairs:
            missing.setdefault(name, name)
    _check_body(source, missing, config, class_name)
    kept = {name: pairs for name, pairs in grouped.items() if name not in missing}
    order = {part: place for place, part in enumerate(parts)}  # the first row that disagrees tells most
    for part, found in sorted((pair for pairs in kept.values() for pair in pairs), key=lambda pair: order[pair[0]]):
        _check_shape(source, known, config, part, found)
    return _Selection(kept, sorted(missing), base, {found for pairs in kept.values() for _, found in pairs})


def _base(tensors, known, class_name):
    """The prefix that the files put before the names of the body: that of the class, or of a bare body, or none."""
    own = known.base_of(class_name)
    rows = [row.theirs.replace("{i}", "0") for row in known.rows(class_name) if "{base}" in row.theirs]

    def hits(base):
        starts = tuple(row.replace("{base}", base) + "." for row in rows)
        return sum(name.startswith(starts) for name in tensors)

    return max(dict.fromkeys((own, known.base, "")), key=hits)


def _find(tensors, name, known, base):
    """The tensor of this name, in its old spelling if need be, or one that repeats it; None if there is none."""
    old = re.sub(r"\.bias$", ".beta", re.sub(r"\.weight$", ".gamma", name))
    repeats = (copy for copy, original in _copies(known, base).items() if original == name)
    return next((found for found in (name, old, *repeats) if found in tensors), None)


def _copies(known, base):
    return {a.replace("{base}", base): b.replace("{base}", base) for a, b in known.copies.items()}


def _check_body(source, missing, config, class_name):
    """A head may be missing, the body may not."""
    absent = sorted(set(missing) & set(plans.parameters(plans.body(config)).shapes))
    if absent:
        raise DataError(
            f"{source.path} lacks {len(absent)} parameter(s) of the body of its {class_name}, the first being "
            f"{missing[absent[0]]} (our {absent[0]}): the files are incomplete, or config.json is of another model"
        )


def _check_shape(source, known, config, part, found):
    shape = source.tensors[found].shape
    if shape == part.theirs_shape:
        return
    suspects = []
    for size in {size for size in part.theirs_shape if size not in shape and size > 4}:  # small numbers are everywhere
        for ours, theirs in settings.origins(known).items():
            if getattr(config, ours) == size:
                suspects += [f"{key}={size}" for key in theirs]
    hint = f"; config.json says {', '.join(sorted(suspects))}, which may be wrong" if suspects else ""
    raise ConfigError(
        f"{source.path}: {found} has the shape {list(shape)}, expected {list(part.theirs_shape)} for {part.ours}{hint}"
    )


def _unused(source, known, class_name, selection):
    """Tensors without a place here; those that are known to repeat others or to be constant are checked, not told."""
    copies, buffers = _copies(known, selection.base), known.classes[class_name].buffers
    buffers = {buffer.theirs.replace("{base}", selection.base): buffer for buffer in buffers}
    unused = []
    for name in sorted(set(source.tensors) - selection.used):
        if name in copies and copies[name] in selection.used:
            _check_copy(source, name, copies[name])
        elif name in buffers:
            _check_buffer(source, name, buffers[name])
        elif not any(re.fullmatch(pattern, name) for pattern in known.ignored):
            unused.append(name)
    return unused


def _check_copy(source, name, original):
    one, other = (source.tensors[n].map(n) for n in (name, original))
    same = one.shape == other.shape and all(
        np.array_equal(one[i : i + _ROWS], other[i : i + _ROWS]) for i in range(0, len(one), _ROWS)
    )
    if not same:
        raise ConfigError(
            f"{source.path}: config.json says that {name} is tied to {original}, but their numbers differ: set "
            "tie_word_embeddings to false in config.json if the model has a head of its own, or remove the tensor"
        )


def _check_buffer(source, name, buffer):
    if np.any(source.tensors[name].map(name) != buffer.value):
        raise ConfigError(
            f"{source.path}: {name} must be {buffer.value} everywhere, and it is not: we cannot compute it"
        )


def _shardings(wanted, mesh):
    """{name: sharding}."""
    if mesh is None:
        return dict.fromkeys(wanted.shapes, SingleDeviceSharding(jax.local_devices()[0]))
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in wanted.shapes.items()}
    placed = names.flatten(meshes.placement(names.unflatten(tree), wanted.axis_names, wanted.shapes, mesh))
    for name, sharding in placed.items():
        try:
            sharding.shard_shape(wanted.shapes[name])
        except ValueError:
            raise ConfigError(
                f"{name} of shape {wanted.shapes[name]} does not divide over the mesh "
                f"({dict(mesh.shape)}, cut as {sharding.spec}): use a mesh whose sizes divide it"
            ) from None
    return placed


def _fill(source, selection, wanted, shardings, config):
    """The parameter tree."""
    dtype = jnp.dtype(config.dtype)
    flat = {}
    for name, pairs in selection.parts.items():
        fill = _fill_stacked if names.is_stacked(name) else _fill_whole
        flat[name] = fill(source, pairs, wanted.shapes[name], shardings[name], dtype)
    if selection.missing:
        flat |= _initialise(models.Transformer(config), {name: shardings[name] for name in selection.missing}, dtype)
    return names.unflatten({name: flat[name] for name in wanted.shapes})


def _fill_whole(source, pairs, shape, sharding, dtype):
    """A global array whose shards are read from the files."""
    ((part, found),) = pairs
    mapped = source.tensors[found].map(found)
    read = {}  # devices that hold the same slice share one copy on the host

    def shard(index):
        index = tuple(index) + (slice(None),) * (len(shape) - len(index))
        key = tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))
        if key not in read:
            read[key] = files.finite(part.read(mapped, index, shape, dtype), found, source.path)
        return read[key]

    return jax.block_until_ready(jax.make_array_from_callback(shape, sharding, shard))


def _fill_stacked(source, pairs, shape, sharding, dtype):
    """A stacked array, made of zeros on the devices and filled layer by layer."""
    one_layer = sharding
    if isinstance(sharding, NamedSharding):
        one_layer = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    stacked = _zeros(shape, dtype, sharding)()
    for part, found in pairs:
        layer = _fill_whole(source, [(part, found)], shape[1:], one_layer, dtype)
        # Waiting keeps the host from reading ahead of the devices.
        stacked = jax.block_until_ready(_put_layer(sharding)(stacked, layer, part.layer))
    return stacked


@functools.cache
def _zeros(shape, dtype, sharding):
    """() -> zeros on the devices."""
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)


@functools.cache
def _put_layer(sharding):
    """(stacked, layer, i) -> stacked with layer i in its place; the first argument is donated."""

    def put(stacked, layer, i):
        return jax.lax.dynamic_update_index_in_dim(stacked, layer, i, 0)

    return jax.jit(put, donate_argnums=0, out_shardings=sharding)


def _initialise(model, shardings, dtype):
    """{name: array} of parameters as the model's initializers draw them, seed 0."""

    def draw():
        made = names.flatten(meta.unbox(model.init(jax.random.key(0), models.example_batch()))["params"])
        return {name: made[name].astype(dtype) for name in shardings}

    return jax.jit(draw, out_shardings=shardings)()


def _some(names_, most=8):
    shown = ", ".join(names_[:most])
    return shown + (f" and {len(names_) - most} more" if len(names_) > most else "")
