"""From a configuration to everything a run needs, with every check made before anything is compiled."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from cloze import models, objectives, tasks
from cloze.data import pipeline
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.composite import Composite
from cloze.parallel import mesh as meshes
from cloze.tasks import embedded
from cloze.training import initial, methods, private, resolve, runs, trainable, updates
from cloze.training.durations import to_steps
from cloze.training.experiment import Experiment
from cloze.training.optimizers.base import NO_DECAY
from cloze.training.runs import heads_out
from cloze.training.schedules import FALLING, make_schedule


def build(config, tokenizer_directory=None, devices=None, report=print):
    """Makes and checks everything that a configuration asks for, short of compiling.

    Args:
        config: the configuration.
        tokenizer_directory: a run's own saved tokenizer, which wins over config.tokenizer; None: the run is new, and
            other runs that its parameters come from are looked at now.
        devices: devices of the mesh; None: all.
        report: called with progress messages.

    Returns:
        Experiment, in its first stage.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    config = resolve.resolve(config)
    methods.check(config)
    objectives.check(config)
    mesh = meshes.make_mesh(config.mesh, devices)
    model_config = methods.model_config(config)
    meshes.check_sizes(config, model_config, mesh.devices.shape)

    tokenizer = resolve.open_tokenizer(config, tokenizer_directory, report)
    objective = objectives.build(config, tokenizer.tables, model_config)
    for remark in objective.remarks:
        report(remark)
    model_config = dataclasses.replace(model_config, heads_out=heads_out(config, objective))
    if objective.whole_batch and config.train.microbatches > 1:
        raise ConfigError(
            f"train.microbatches={config.train.microbatches}: objective.name={config.objective.name} compares the rows "
            "of a step with each other; set train.microbatches=1, and model.remat=full if memory is short"
        )
    batches, validation = open_data(config, tokenizer, objective, mesh, report)
    if tokenizer_directory is None and (line := _seen(config)):
        report(line)
    objective = objective.with_counts(batches.counts)
    for part in (batches, validation):
        objective.check_rows(part.batches)

    model = methods.make_model(config, objective, model_config)
    if isinstance(model, Composite):
        for name, part in model.parts.items():
            meshes.check_model(part.config, mesh.devices.shape, part=name)
    parameters = models.parameters(model)
    steps = functools.partial(_steps, config, batches)
    stages = methods.stages(config, parameters.shapes, steps)
    durations = _durations(steps, stages)
    schedule = _schedule(config, durations, stages, steps, report)
    parts_of = functools.partial(_stage, config, objective, model_config, parameters, schedule, stages)
    experiment = Experiment(
        config=config,
        mesh=mesh,
        tokenizer=tokenizer,
        objective=objective,
        schedule=schedule,
        **parts_of(0),
        batches=batches,
        validation=validation,
        shapes=parameters.shapes,
        axis_names=parameters.axis_names,
        durations=durations,
        fingerprint=batches.fingerprint,
        stages=stages,
        parts_of=parts_of,
        privacy=private.settings(config, batches, report),
    )
    if tokenizer_directory is None:
        _ = experiment.sources  # refuses now what does not fit
    return experiment


def _check_task(config, objective):
    """Refuses a task that is not read, and examples without a task."""
    reads = objective.rows.kind == "examples"
    if config.task.name and not reads:
        raise ConfigError(
            f"task.name={config.task.name}: objective.name={config.objective.name} reads text, not labelled examples; "
            "set objective.name=supervised or responses, or leave task.name empty"
        )


def open_data(config, tokenizer, objective, mesh, report):
    """The pipeline.Data of both splits, which are prepared if they are not there yet.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    _check_task(config, objective)
    read = tasks.read_by(config, objective.rows)
    cuts = mesh.shape["data"] * mesh.shape["fsdp"] * config.train.microbatches
    return [
        pipeline.open_batches(config, tokenizer, objective.rows, split, read, multiple=cuts, report=report)
        for split in ("train", "validation")
    ]


def _seen(config):
    """A line where the run that this one begins with has read texts that its task is judged by; else None."""
    task = tasks.TASKS.get(config.task.name)
    if task is None or not config.init.checkpoint:
        return None
    if initial.is_hugging_face(config.init.checkpoint) or not config.init.parameters:
        return None
    theirs = runs.load_config(config.init.checkpoint).data
    if "pydocs" not in theirs.source or theirs.validation_share >= embedded.HELD_OUT_SHARE or theirs.validation_source:
        return None
    return (
        f"Note: {config.init.checkpoint} has read documents that {task.name} is judged by, though not their labels; "
        f"pretrain with --config.data.validation_share={embedded.HELD_OUT_SHARE} to keep them apart"
    )


def _stage(config, objective, model_config, parameters, schedule, stages, number):
    """{"model", "split", "optimizer"} of a stage: see `Experiment`."""
    optional = methods.optional_patterns(config)
    always = tuple((pattern, False) for pattern in objective.frozen)
    splits = [trainable.Split((*always, *stage.rules), parameters.shapes, optional) for stage in stages[: number + 1]]
    split = splits[-1]
    model = methods.make_model(config, objective, model_config, **split.frozen_layers())
    o = config.optimizer
    decay = names.match(o.decay_rules, parameters.shapes, "optimizer.decay_rules", optional=(NO_DECAY,))
    factors = methods.multipliers(o, parameters.shapes)
    plain = all(np.all(np.asarray(factor) == 1) for factor in factors.values())
    optimizer = updates.make_optimizer(
        updates.from_config(o),
        schedule,
        split.trainable_shapes(),
        split.trainable_values(decay),
        None if plain else split.trainable_values(factors),
        split.trainable_values(_began(splits)) if len(stages) > 1 else None,
    )
    return {"model": model, "split": split, "optimizer": optimizer}


def _began(splits):
    """{name: number of the stage, or one for each layer} in which a parameter began to train; later than all: never."""
    found = {}
    for name, mask in splits[-1].mask.items():
        began = np.argmax([split.mask[name] for split in splits], axis=0)
        found[name] = np.where(mask, began, len(splits))
    return {name: value if names.is_stacked(name) else value[0] for name, value in found.items()}


def _schedule(config, durations, stages, steps, report):
    """The learning rate of every step: that of a stage with a rate of its own, else the schedule's."""
    o = config.optimizer
    offset = sum(stage.start for stage in stages if stage.fresh)
    length = durations["steps"] - offset
    decay_steps = length if o.decay_steps is None else steps("optimizer.decay_steps")
    if o.schedule in FALLING and not o.final_fraction and length > decay_steps:
        report(
            f"Note: the learning rate is 0 from step {decay_steps} on, but the run lasts until {length}; "
            "raise optimizer.decay_steps as well"
        )
    schedule = make_schedule(
        o.schedule,
        o.learning_rate,
        warmup_steps=steps("optimizer.warmup_steps"),
        decay_steps=decay_steps,
        final_fraction=o.final_fraction,
    )
    if not offset:
        return schedule
    before = stages[0].learning_rate
    return lambda step: jnp.where(step < offset, before, schedule(jnp.maximum(step - offset, 0)))


def _steps(config, batches, option):
    section, field = option.split(".")
    return to_steps(
        config[section][field],
        name=option,
        batch_size=config.train.batch_size,
        tokens_per_row=config.data.sequence_length,
        steps_per_epoch=batches.steps_per_epoch,
    )


def _durations(steps, stages):
    """Durations of the run in steps: what comes before a stage that begins anew is added to train.steps."""
    before = sum(stage.start for stage in stages if stage.fresh)
    durations = {
        "steps": steps("train.steps") + before,
        "log_every": steps("train.log_every"),
        "eval_every": steps("train.eval_every"),
        "checkpoint_every": steps("checkpoint.every"),
    }
    for name, value in durations.items():
        if value < 1:
            raise ConfigError(f"{name} comes to {value} steps; it must be at least 1")
    return durations
