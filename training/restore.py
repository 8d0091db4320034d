"""A trained model from a run's directory, for everything that is not training it."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import data.tokenizers
import models
import objectives
from configs import base
from errors import ConfigError
from models import names
from models.composite import Composite
from parallel import mesh as meshes
from parallel.processes import decide
from training.checkpoint import Checkpoints


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run has learned.

    Attributes:
        config: its configuration.
        model: the module, of a composite one part.
        params: nested tree of parameters.
        tokenizer: data.tokenizers.Tokenizer.
        step: updates made.
    """

    config: Any
    model: Any
    params: Any
    tokenizer: Any
    step: int


def heads_out(config, objective):
    """The heads of a run's model: those that its objective scores, and those that it carries from elsewhere."""
    return tuple(dict.fromkeys((*objective.outputs, *(config.model.heads_out or ()))))


def load(workdir, report=print, fills=False):
    """Reads the newest whole checkpoint of a run, parameters only, onto one device.

    Args:
        workdir: the run's directory.
        report: called with messages.
        fills: of a composite, take the part that reads [MASK] and not the main one.

    Returns:
        Trained.

    Raises:
        ConfigError: no run there, or nothing saved yet.
        CheckpointError: no checkpoint is whole.
    """
    config = load_config(workdir)
    tokenizer = data.tokenizers.load(pathlib.Path(workdir) / "tokenizer")
    model = make_model(workdir, config, tokenizer.tables)
    params, step = load_parameters(workdir, model, report)
    if isinstance(model, Composite):
        model, params = model.part(params, model.fills if fills else model.main)
    return Trained(config, model, params, tokenizer, step)


def load_config(workdir):
    """The configuration of a run."""
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise ConfigError(f"{workdir} holds no run: config.json is missing; train one there with train.py first")
    return base.load(workdir / "config.json")


def is_converted(workdir):
    """Whether a run holds nothing but the parameters that it was converted from: no training saves a step 0."""
    return Checkpoints(pathlib.Path(workdir) / "checkpoints").steps() == [0]


def make_model(workdir, config, tables):
    """The module or composite that a run trains, with the heads that its objective scores.

    Converted models have the heads that their configuration names: until they are trained, no objective need fit them,
    and `tables` may be None.
    """
    model_config = models.resolve(config.model)
    if is_converted(workdir):
        return models.build(model_config)
    objective = objectives.build(config, tables, model_config)
    return objective.model(dataclasses.replace(model_config, heads_out=heads_out(config, objective)))


def load_parameters(workdir, model, report=print, mesh=None):
    """The parameters in the newest whole checkpoint of a run, and the step they are from; see `load`.

    They are cut over `mesh` as those of a model in training, where their sizes divide; None: they are on one device.
    """
    parameters = models.parameters(model)
    if mesh is None:
        mesh = meshes.make_mesh(dict(data=1, fsdp=1, tensor=1, sequence=1), jax.devices()[:1])
    tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameters.shapes.items()})
    places = meshes.placement(tree, parameters.axis_names, parameters.shapes, mesh)
    tree = jax.tree.map(
        lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=_divisible(p, s.shape)), tree, places
    )

    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    step = decide(lambda: checkpoints.latest_whole(report))
    if step is None:
        raise ConfigError(f"{workdir} has no checkpoint yet: let train.py reach its first one")
    params = checkpoints.restore(step, params=tree)["params"]
    checkpoints.close()
    return params, step


def _divisible(sharding, shape):
    """The sharding without the cuts that do not divide a dimension: the mesh was chosen for another model."""
    sizes = sharding.mesh.shape
    fits = [axis is None or size % sizes[axis] == 0 for axis, size in zip(sharding.spec, shape, strict=False)]
    return NamedSharding(
        sharding.mesh, PartitionSpec(*(a if fit else None for a, fit in zip(sharding.spec, fits, strict=True)))
    )
