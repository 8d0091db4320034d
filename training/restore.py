"""A trained model from a run's directory, for everything that is not training."""

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
from parallel import mesh as meshes
from training import trainable
from training.checkpoint import Checkpoints


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run has learned.

    Attributes:
        config: its configuration.
        model: models.Transformer.
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


def load(workdir, report=print):
    """Reads the newest whole checkpoint of a run, parameters only, onto one device.

    Args:
        workdir: the run's directory.
        report: called with messages.

    Returns:
        Trained.

    Raises:
        ConfigError: no run there, or nothing saved yet.
        CheckpointError: no checkpoint is whole.
    """
    workdir = pathlib.Path(workdir)
    config = load_config(workdir)
    tokenizer = data.tokenizers.load(workdir / "tokenizer")
    objective = objectives.build(config, tokenizer.tables, models.resolve(config.model))
    model, params, step = load_model(workdir, config, heads_out(config, objective), report)
    return Trained(config, model, params, tokenizer, step)


def load_config(workdir):
    """The configuration of a run."""
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise ConfigError(f"--workdir={workdir} holds no run: config.json is missing; train one with train.py first")
    return base.load(workdir / "config.json")


def load_model(workdir, config, heads, report=print):
    """The model of a run with these heads, its parameters on one device, and the step they are from; see `load`."""
    model = models.Transformer(dataclasses.replace(models.resolve(config.model), heads_out=tuple(heads)))
    tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    abstract, axis_names = trainable.abstract_parameters(model, {"tokens": tokens, "decoder_tokens": tokens})
    mesh = meshes.make_mesh(dict(data=1, fsdp=1, tensor=1, sequence=1), jax.devices()[:1])
    tree = names.unflatten(abstract)
    places = meshes.placement(tree, axis_names, {name: leaf.shape for name, leaf in abstract.items()}, mesh)
    tree = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, places)

    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    step = checkpoints.latest_whole(report)
    if step is None:
        raise ConfigError(f"--workdir={workdir} has no checkpoint yet: let train.py reach its first one")
    params = checkpoints.restore(step, params=tree)["params"]
    checkpoints.close()
    return model, params, step
