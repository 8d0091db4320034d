"""The mesh of devices, and the one table from logical axis names to mesh axes."""

import contextlib
import dataclasses
import math

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.options import FREELY, option

MESH_AXES = ("data", "fsdp", "tensor", "sequence")
ROW_AXES = ("data", "fsdp")  # a batch's rows are cut along these


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshOptions:
    """Devices along each axis; -1 takes what is left."""

    data: int = option(-1, "copies of the model, each with its own rows", changes=FREELY, least=-1)
    fsdp: int = option(1, "parameters and rows are both cut along this axis", changes=FREELY, least=-1)
    tensor: int = option(1, "heads, feed-forward and vocabulary are cut along this axis", changes=FREELY, least=-1)
    sequence: int = option(1, "positions within a row are cut along this axis", changes=FREELY, least=-1)
    slices: int = option(
        0,
        "parts that mesh.data goes over first, such as slices joined by the data-centre network; 0: as many slices as "
        "there are, along the first axis that they divide",
        changes=FREELY,
        least=0,
    )


RULES = (
    (axes.BATCH, ROW_AXES),
    (axes.LENGTH, "sequence"),
    (axes.ACT_EMBED, None),
    (axes.ACT_HEADS, "tensor"),
    (axes.ACT_FFN, "tensor"),
    (axes.ACT_VOCAB, "tensor"),
    (axes.LAYERS, None),
    (axes.EMBED, "fsdp"),
    (axes.HEADS, "tensor"),
    (axes.KV_HEADS, "tensor"),
    (axes.FFN, "tensor"),
    (axes.VOCAB, "tensor"),
    (axes.POSITIONS, None),
    (axes.SMALL, None),
)


def make_mesh(sizes, devices=None):
    """A mesh over all devices.

    Args:
        sizes: mapping of each of MESH_AXES to a size; one of them may be -1 and takes what is left. `slices`, where it
            is there, as of MeshOptions.
        devices: devices to use; None: all.

    Raises:
        ConfigError: the sizes do not multiply to the number of devices, or slices do not divide.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(sizes, len(devices))
    arranged = _arranged(shape, devices, int(sizes.get("slices", 0)))
    return Mesh(arranged, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def _arranged(shape, devices, asked):
    """Devices as a mesh: neighbours along an axis are neighbours in the machine as far as that goes.

    Of several slices, which the data-centre network joins, one axis goes over them, and each slice is a part of the
    mesh. Where devices know nothing of slices, such as GPUs, those that follow each other are one.
    """
    there = len({getattr(device, "slice_index", 0) for device in devices})
    slices = asked or there
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    if there > 1 and slices != there:
        raise ConfigError(f"mesh.slices={slices}, but the devices are of {there} slices: set it to {there}, or to 0")
    across = over_slices(shape, slices, asked)
    if across is None:
        what = f"mesh.data={shape[0]} does not go" if asked else "no axis of the mesh goes"
        raise ConfigError(f"{what} over {slices} slices: {_shown(shape)}; make mesh.data a multiple of {slices}")
    within = [size // slices if number == across else size for number, size in enumerate(shape)]
    if there > 1:
        between = [slices if number == across else 1 for number in range(len(shape))]
        return mesh_utils.create_hybrid_device_mesh(within, between, devices, allow_split_physical_axes=True)
    size = len(devices) // slices
    parts = [devices[number * size : (number + 1) * size] for number in range(slices)]
    parts = [mesh_utils.create_device_mesh(within, part, allow_split_physical_axes=True) for part in parts]
    return np.concatenate(parts, axis=across)


def over_slices(shape: tuple[int, ...], slices: int, asked: int) -> int | None:
    """Number of the axis of a mesh that goes over slices: the first that they divide; None: there is none.

    Args:
        shape: sizes of MESH_AXES.
        slices: how many.
        asked: mesh.slices, which only `data` goes over; 0: it says nothing.
    """
    axes = range(1) if asked else range(len(shape))
    return next((number for number in axes if shape[number] % slices == 0), None)


def _shown(shape):
    return ", ".join(f"mesh.{axis}={size}" for axis, size in zip(MESH_AXES, shape, strict=True))


def mesh_for_reading(sizes, report):
    """The mesh of a run where it is only read: its own sizes, or where they do not fit these devices, rows alone.

    Args:
        sizes: mapping of each of MESH_AXES to a size.
        report: called with a message where they do not fit.

    Returns:
        The mesh; None where there is one device, which needs none.
    """
    if len(jax.devices()) == 1:
        return None
    try:
        return make_mesh(sizes)
    except ConfigError:
        report(f"The run's mesh does not fit the {len(jax.devices())} devices here: rows alone are cut over them")
        return make_mesh(dict.fromkeys(MESH_AXES, 1) | {"data": -1})


def mesh_shape(sizes, count):
    """The sizes of MESH_AXES for `count` devices, -1 resolved."""
    shape = [int(sizes[axis]) for axis in MESH_AXES]
    shown = _shown(shape)
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ConfigError(f"mesh sizes must be positive, and at most one -1; got {shown}")
    fixed = math.prod(size for size in shape if size != -1)
    if -1 in shape and count % fixed == 0:
        shape[shape.index(-1)] = count // fixed
    if math.prod(shape) != count:
        raise ConfigError(
            f"the mesh does not fit: {shown} asks for {'a multiple of ' if -1 in shape else ''}{fixed} devices, but "
            f"there are {count}; change mesh.* (one of them may be -1)"
        )
    return tuple(shape)


def check_sizes(config, model_config, shape):
    """Checks that batch and model divide over the mesh, before anything is compiled.

    Args:
        config: the configuration.
        model_config: ModelConfig.
        shape: sizes of MESH_AXES.
    """
    size = dict(zip(MESH_AXES, shape, strict=True))
    rows = size["data"] * size["fsdp"]
    batch, micro = config.train.batch_size, config.train.microbatches
    if batch < 1 or micro < 1 or batch % (rows * micro):
        part = rows * micro
        nearest = sorted({max(1, batch // part) * part, (batch // part + 1) * part})
        fewer = [n for n in range(1, micro) if batch > 0 and batch % (rows * n) == 0]
        raise ConfigError(
            f"train.batch_size={batch} does not divide into train.microbatches={micro} times mesh.data*mesh.fsdp="
            f"{rows}; the nearest sizes that do are {' and '.join(map(str, nearest))}"
            + (f", or set train.microbatches={fewer[-1]}" if fewer else "")
        )
    length = config.data.sequence_length
    prompt = model_config.prompt_length
    if (length + prompt) % size["sequence"]:
        raise ConfigError(
            f"data.sequence_length={length}{f' with a prompt of {prompt}' if prompt else ''} does not divide by "
            f"mesh.sequence={size['sequence']}: change one of them"
        )
    check_model(model_config, shape)


def check_model(model_config, shape, part=None):
    """Checks that a model divides over the mesh.

    Args:
        model_config: ModelConfig.
        shape: sizes of MESH_AXES.
        part: what the model is called in a composite; None: it is alone.
    """
    cuts = {"tensor": ("heads", "kv_heads", "ffn", "padded_vocab"), "fsdp": ("width", "embedding_width")}
    if model_config.architecture == "word_vectors":
        cuts["tensor"] = ("padded_vocab",)
    elif "recurrent" in model_config.architecture:  # LSTMs have no attention
        cuts["tensor"] = ("ffn", "padded_vocab")
    size = dict(zip(MESH_AXES, shape, strict=True))
    for axis, fields in cuts.items():
        for field in fields:
            if getattr(model_config, field) % size[axis] == 0:
                continue
            name, way_out = f"model.{field}", "change one of them"
            if part:
                name, way_out = f"the {part}'s {field}", f"change mesh.{axis}, or what the {part}'s size comes from"
            elif field == "padded_vocab":
                way_out += "; set model.vocab_multiple"
            raise ConfigError(
                f"{name}={getattr(model_config, field)} does not divide by mesh.{axis}={size[axis]}: {way_out}"
            )


def placement(tree, axis_names, shapes, mesh):
    """Shardings of a tree whose leaves belong to parameters: the parameters, or an optimizer's state.

    A leaf belongs to the parameter whose name ends its path. Of the parameter's shape, it is placed like the
    parameter; with fewer axes (Adafactor's factors), each axis is placed like the parameter's axis of that size.
    Anything else is on every device.

    Args:
        tree: abstract arrays.
        axis_names: {parameter name: logical names of its axes}.
        shapes: {parameter name: shape}.
        mesh: the mesh.
    """
    table = dict(RULES)

    def place(path, leaf):
        key = "/".join(str(k.key) for k in path if isinstance(k, jax.tree_util.DictKey))
        parts = key.split("/")
        name = next((n for i in range(len(parts)) if (n := "/".join(parts[i:])) in axis_names), None)
        if name is None or leaf.ndim == 0:
            return NamedSharding(mesh, PartitionSpec())
        spec, axis = [], 0
        whole = len(leaf.shape) == len(shapes[name])
        for size in leaf.shape:
            while not whole and axis < len(shapes[name]) and shapes[name][axis] != size:
                axis += 1
            found = axis < len(shapes[name]) and size != 1
            spec.append(table.get(axis_names[name][axis]) if found else None)
            axis += 1
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(place, tree)


@contextlib.contextmanager
def context(mesh):
    """In which programs run on a mesh."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield


def row_sharding(mesh):
    """Rows of a batch: cut along `data` and `fsdp`, the same on all other axes."""
    return NamedSharding(mesh, PartitionSpec(ROW_AXES))


def replicated(mesh):
    return NamedSharding(mesh, PartitionSpec())


def my_rows(sharding, batch_size):
    """The places in the global batch, sorted, that this process's devices hold."""
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in slices]))


def to_devices(rows, sharding):
    """Global arrays from the rows that each process has read.

    Args:
        rows: dict of numpy arrays, those of the places that `my_rows` gives.
        sharding: row_sharding(mesh).
    """
    return jax.make_array_from_process_local_data(sharding, rows)
