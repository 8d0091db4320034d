"""What a run's directory holds: its configuration, the model that it trains, and arrays of its checkpoints."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from cloze import models, objectives
from cloze.errors import ConfigError
from cloze.models import names
from cloze.parallel import mesh as meshes
from cloze.parallel.processes import decide
from cloze.training import methods, retention
from cloze.training.checkpoint import Checkpoints
from cloze.training.workdir import read_config


def heads_out(config, objective):
    """The heads of a run's model: those that its objective scores, and those that it carries from elsewhere."""
    return tuple(dict.fromkeys((*objective.outputs, *(config.model.heads_out or ()))))


def load_config(workdir):
    """The configuration of a run.

    Raises:
        ConfigError: no run there, or its config.json is damaged.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise ConfigError(f"{workdir} holds no run: config.json is missing; train one there with train.py first")
    return read_config(workdir / "config.json")


def is_converted(workdir):
    """Whether a run holds nothing but the parameters that it was converted from: no training saves a step 0."""
    return Checkpoints(pathlib.Path(workdir) / "checkpoints").steps() == [0]


def make_model(workdir, config, tables):
    """The module or composite that a run trains, with the heads that its objective scores.

    Converted models have the heads that their configuration names: until they are trained, no objective need fit them,
    and `tables` may be None.
    """
    model_config = methods.model_config(config)
    if is_converted(workdir):
        return methods.with_parts(config, models.build(model_config), model_config)
    objective = objectives.build(config, tables, model_config)
    model_config = dataclasses.replace(model_config, heads_out=heads_out(config, objective))
    return methods.make_model(config, objective, model_config)


NEWEST, BEST = "newest", "best"  # which checkpoint of a run is meant, beside the number of its step


def checkpoint_of(workdir, which=NEWEST, report=print):
    """(Checkpoints of a run, the step of one of them, which is whole).

    Args:
        workdir: the run's directory.
        which: NEWEST, BEST (by the run's checkpoint.best), or the number of a step.
        report: called with messages on checkpoints that are passed over.

    Raises:
        ConfigError: nothing is saved yet, there is no such checkpoint, or it is damaged.
        CheckpointError: no checkpoint is whole.
    """
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    if which == NEWEST:
        step = decide(lambda: checkpoints.latest_whole(report))
        if step is None:
            raise ConfigError(f"{workdir} has no checkpoint yet: let train.py reach its first one")
        return checkpoints, step
    if which == BEST:
        best = retention.best_of(load_config(workdir).checkpoint)
        if best is None:
            raise ConfigError(f"{workdir} keeps no best checkpoint: train with checkpoint.best=validation/loss, say")
        which = decide(lambda: best.of(checkpoints.saved_steps()))
        if which is None:
            raise ConfigError(f"{workdir} has no checkpoint with {best.metric} yet: let train.py validate")
    checkpoints.check_whole(which)
    return checkpoints, int(which)


def abstract(shapes, axis_names, mesh=None):
    """Parameters of these shapes as a tree of jax.ShapeDtypeStruct, cut over a mesh where their sizes divide.

    Args:
        shapes: {name: shape}.
        axis_names: {name: logical names of the axes}.
        mesh: a mesh; None: one device.
    """
    if mesh is None:
        mesh = meshes.make_mesh(dict(data=1, fsdp=1, tensor=1, sequence=1), jax.devices()[:1])
    tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()})
    places = meshes.placement(tree, axis_names, shapes, mesh)
    return jax.tree.map(
        lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=_divisible(p, s.shape)), tree, places
    )


def _divisible(sharding, shape):
    """The sharding without the cuts that do not divide a dimension: the mesh was chosen for another model."""
    sizes = sharding.mesh.shape
    fits = [axis is None or size % sizes[axis] == 0 for axis, size in zip(sharding.spec, shape, strict=False)]
    return NamedSharding(
        sharding.mesh, PartitionSpec(*(a if fit else None for a, fit in zip(sharding.spec, fits, strict=True)))
    )
