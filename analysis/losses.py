"""The validation loss of a run as a function of its parameters."""

import copy
import pathlib

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.composite import Composite
from cloze.training import run as runs
from cloze.training.gradients import total


def validation_loss(trained, batches):
    """The loss on the first validation batches, without dropout and with fixed corruption.

    Args:
        trained: training.restore.Trained with a workdir.
        batches: how many are read, at most.

    Returns:
        A traceable function of a nested tree of parameters, f32 scalar: the mean over the batches.

    Raises:
        ConfigError: the run trains several models at once, or its configuration or data have gone.
    """
    config = copy.deepcopy(trained.config)
    config.mesh.update(data=1, fsdp=1, tensor=1, sequence=1)
    config.train.microbatches = 1
    tokenizer = pathlib.Path(trained.workdir) / "tokenizer"
    run = runs.build(config, tokenizer, devices=jax.devices()[:1], report=lambda line: None)
    if isinstance(run.program().model, Composite):
        raise ConfigError(
            f"{trained.workdir} trains several models at once (objective.name={config.objective.name}), whose loss is "
            "of all of them: choose a run with one model"
        )
    objective, data = run.objective.for_validation(), run.data["validation"]
    key = jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), 3)  # as validation has it
    steps = range(min(batches, max(1, int(data.steps_per_epoch))))
    with run.context():
        given = [objective.corrupt(jax.random.fold_in(key, i), run.rows(data, i)) for i in steps]

    def loss(params):
        terms = [objective.loss(trained.model.apply({"params": params}, batch), batch) for batch in given]
        return jnp.mean(jnp.stack([total(one) for one in terms]))

    return loss
