"""A trained model from a run's directory, for everything that is not training it."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

import data.tokenizers
import models
import objectives
from configs import base
from errors import ConfigError
from models import names
from models.composite import Composite
from parallel import mesh as meshes
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


def load(workdir, report=print, head=None):
    """Reads the newest whole checkpoint of a run, parameters only, onto one device.

    Args:
        workdir: the run's directory.
        report: called with messages.
        head: of a composite, take the part that has this head, if the main one lacks it.

    Returns:
        Trained.

    Raises:
        ConfigError: no run there, or nothing saved yet.
        CheckpointError: no checkpoint is whole.
    """
    config = load_config(workdir)
    tokenizer = data.tokenizers.load(pathlib.Path(workdir) / "tokenizer")
    model = make_model(config, tokenizer.tables)
    params, step = load_parameters(workdir, model, report)
    if isinstance(model, Composite):
        having = [name for name, part in model.parts.items() if head in part.config.heads_out]
        model, params = model.part(params, model.main if model.main in having or not having else having[0])
    return Trained(config, model, params, tokenizer, step)


def load_config(workdir):
    """The configuration of a run."""
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise ConfigError(f"{workdir} holds no run: config.json is missing; train one there with train.py first")
    return base.load(workdir / "config.json")


def make_model(config, tables):
    """The module or composite that a run trains, with the heads that its objective scores.

    Converted models say themselves which heads they have: no objective need fit them, and `tables` may be None.
    """
    model_config = models.resolve(config.model)
    if config.model.heads_out is not None:
        return models.build(model_config)
    objective = objectives.build(config, tables, model_config)
    return objective.model(dataclasses.replace(model_config, heads_out=heads_out(config, objective)))


def load_parameters(workdir, model, report=print):
    """The parameters in the newest whole checkpoint of a run, on one device, and the step they are from; see `load`."""
    parameters = models.parameters(model)
    mesh = meshes.make_mesh(dict(data=1, fsdp=1, tensor=1, sequence=1), jax.devices()[:1])
    tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameters.shapes.items()})
    places = meshes.placement(tree, parameters.axis_names, parameters.shapes, mesh)
    tree = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, places)

    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    step = checkpoints.latest_whole(report)
    if step is None:
        raise ConfigError(f"{workdir} has no checkpoint yet: let train.py reach its first one")
    params = checkpoints.restore(step, params=tree)["params"]
    checkpoints.close()
    return params, step
