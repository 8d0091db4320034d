"""A run: what is static in it, from a configuration, with every check made before anything is compiled."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cloze import models, objectives, tasks
from cloze.configs import base
from cloze.data import pipeline
from cloze.data.durations import to_steps
from cloze.errors import ConfigError
from cloze.models.backends import choice
from cloze.models.composite import Composite
from cloze.models.platforms import platform
from cloze.parallel import mesh as meshes
from cloze.tasks import embedded
from cloze.training import initial, methods, private, profiling, resolve, retention, runs
from cloze.training.program import Program, make_program
from cloze.training.runs import heads_out
from cloze.training.schedules import FALLING, make_schedule
from cloze.training.step import Keys, make_keys
from cloze.training.validation import Validator


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What is the same from the first step of a run to the last.

    Attributes:
        config: the configuration, resolved.
        mesh: the device mesh.
        tokenizer: data.tokenizers.Tokenizer.
        objective: objectives.base.Objective.
        data: {"train", "validation": data.pipeline.Data}.
        model_config: ModelConfig, with the heads that the objective scores.
        shapes, axis_names: {name: shape} and {name: logical axes} of all parameters.
        stages: the training.methods.Stage of the run.
        durations: {"steps", "log_every", "eval_every", "checkpoint_every", "keep_every"} in steps; None: never.
        schedule: step -> learning rate.
        privacy: training.private.Privacy; None: training is not private.
    """

    config: Any
    mesh: jax.sharding.Mesh
    tokenizer: Any
    objective: Any
    data: dict[str, Any]
    model_config: Any
    shapes: dict[str, tuple]
    axis_names: dict[str, tuple]
    stages: tuple
    durations: dict[str, int]
    schedule: Callable
    privacy: Any = None

    def program(self, stage: int = 0) -> Program:
        """The program of a stage, made when it is first asked for."""
        if stage not in self._programs:
            self._programs[stage] = make_program(self, stage)
        return self._programs[stage]

    @functools.cached_property
    def _programs(self):
        return {}

    @functools.cached_property
    def keys(self) -> Keys:
        """Root random keys, on every device."""
        keys = make_keys(self.config.seed, self.config.train.dropout_generator)
        return jax.device_put(keys, meshes.replicated(self.mesh))

    @property
    def abstract_keys(self) -> Keys:
        """`keys` as jax.ShapeDtypeStruct with shardings."""
        make = functools.partial(make_keys, self.config.seed, self.config.train.dropout_generator)
        everywhere = meshes.replicated(self.mesh)
        return jax.tree.map(lambda k: jax.ShapeDtypeStruct(k.shape, k.dtype, sharding=everywhere), jax.eval_shape(make))

    @functools.cached_property
    def donors(self) -> list:
        """The training.donor.Donor of each run that parameters come from; only a new state needs them.

        Raises:
            ConfigError: there is no such run, or it does not fit.
        """
        found = initial.donors(self.config, self.objective, self.tokenizer)
        for donor in found:
            donor.plan(self.shapes, self.axis_names)
        return found

    @contextlib.contextmanager
    def context(self):
        """The mesh and the axis rules: everything that is traced runs within."""
        with meshes.context(self.mesh):
            yield

    def rows(self, data: pipeline.Data, step: int) -> dict[str, jax.Array]:
        """The rows of a step, on the devices."""
        sharding = meshes.row_sharding(self.mesh)
        places = meshes.my_rows(sharding, data.size(step))
        return meshes.to_devices(data.batches(step, places), sharding)

    def facts(self, seal: dict | None = None) -> dict:
        """What all checkpoints say of the run; `seal` is that of the checkpoint it goes on from, None: it is new.

        Where checkpoints hold only what trains, they also say where the rest is.
        """
        facts = {
            "config": base.to_dict(self.config),
            "tokenizer": self.tokenizer.hash,
            "data": self.data["train"].fingerprint,
        }
        if not methods.saves_all(self.config):
            facts["base"] = initial.describe_base(self.donors) if seal is None else seal["base"]
        return facts


def build(config, tokenizer_directory=None, devices=None, report=print) -> Run:
    """Makes and checks everything that a configuration asks for, short of compiling.

    Args:
        config: the configuration, resolved (training.resolve).
        tokenizer_directory: a run's own saved tokenizer, which wins over config.tokenizer; None: the run is new, and
            other runs that its parameters come from are looked at now.
        devices: devices of the mesh; None: all.
        report: called with progress messages.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    methods.check(config)
    objectives.check(config)
    mesh = meshes.make_mesh(config.mesh, devices)
    model_config = methods.model_config(config)
    meshes.check_sizes(config, model_config, mesh.devices.shape)
    choice.check_platform(model_config.attention_backend, platform(mesh))

    tokenizer = resolve.open_tokenizer(config, tokenizer_directory, report)
    objective = _objective(config, tokenizer, model_config, report)
    data = open_data(config, tokenizer, objective, mesh, report)
    if tokenizer_directory is None:
        for line in filter(None, (_seen(config), _begins_at_random(config, objective))):
            report(line)
    objective = objective.with_counts(data["train"].counts)
    for split in data.values():
        objective.check_rows(split.batches)

    model_config = dataclasses.replace(model_config, heads_out=heads_out(config, objective))
    model = methods.make_model(config, objective, model_config)
    if isinstance(model, Composite):
        for name, part in model.parts.items():
            meshes.check_model(part.config, mesh.devices.shape, part=name)
    parameters = models.parameters(model)
    steps = functools.partial(_steps, config, data["train"])
    stages = methods.stages(config, parameters.shapes, steps)
    durations = _durations(config, steps, stages)
    profiling.check(config.train.profile, durations["steps"])
    run = Run(
        config=config,
        mesh=mesh,
        tokenizer=tokenizer,
        objective=objective,
        data=data,
        model_config=model_config,
        shapes=parameters.shapes,
        axis_names=parameters.axis_names,
        stages=stages,
        durations=durations,
        schedule=_schedule(config, durations, stages, steps, report),
        privacy=private.privacy(config, data["train"], report),
    )
    run.program()  # refuses now what does not fit
    if tokenizer_directory is None:
        _ = run.donors  # and so here
    return run


def _objective(config, tokenizer, model_config, report):
    objective = objectives.build(config, tokenizer.tables, model_config)
    for remark in objective.remarks:
        report(remark)
    if objective.compared and config.train.microbatches > 1:
        report(
            f"train.microbatches={config.train.microbatches}: the vectors of all are computed before they are "
            "compared, so that the loss is that of the whole batch; the body runs forward twice (GradCache)"
        )
    elif objective.whole_batch and config.train.microbatches > 1:
        raise ConfigError(
            f"train.microbatches={config.train.microbatches}: objective.name={config.objective.name} compares the rows "
            "of a step with each other; set train.microbatches=1, and model.remat=full if memory is short"
        )
    return objective


def open_data(config, tokenizer, objective, mesh, report):
    """{split: pipeline.Data}, which are prepared if they are not there yet.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    if config.task.name and objective.rows.kind != "examples":
        raise ConfigError(
            f"task.name={config.task.name}: objective.name={config.objective.name} reads text, not labelled examples; "
            "set objective.name=supervised or responses, or leave task.name empty"
        )
    read = tasks.read_by(config, objective.rows)
    cuts = mesh.shape["data"] * mesh.shape["fsdp"] * config.train.microbatches
    return {
        split: pipeline.open_batches(config, tokenizer, objective.rows, split, read, multiple=cuts, report=report)
        for split in ("train", "validation")
    }


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


def _begins_at_random(config, objective):
    """A line where parts of a model are finetuned that has learned nothing; else None."""
    if config.finetune.method == "full" or config.init.checkpoint or objective.initial():
        return None
    return (
        f"Note: finetune.method={config.finetune.method} keeps what a model has learned, and this one begins at "
        "random: name a run or a Hugging Face directory in init.checkpoint"
    )


def _schedule(config, durations, stages, steps, report):
    """The learning rate of every step: that of a stage with a rate of its own, else the schedule's."""
    o = config.optimizer
    offset = sum(stage.start for stage in stages if stage.fresh)
    length = durations["steps"] - offset
    decay_steps = length if o.decay_steps is None else steps("optimizer.decay_steps")
    if not o.learning_rate:
        report("Note: the learning rate is 0 in all of the run; raise optimizer.learning_rate")
    elif o.schedule in FALLING and not o.final_fraction and length > decay_steps:
        report(
            f"Note: the learning rate is 0 from step {decay_steps} on, but the run lasts until {length}; raise "
            "optimizer.decay_steps as well, or set it to None, and it follows train.steps"
        )
    schedule = make_schedule(
        o.schedule,
        o.learning_rate,
        warmup_steps=steps("optimizer.warmup_steps"),
        decay_steps=decay_steps,
        final_fraction=o.final_fraction,
        decay_share=o.decay_share,
        decay_shape=o.decay_shape,
    )
    if not offset:
        return schedule
    before = stages[0].learning_rate
    return lambda step: jnp.where(step < offset, before, schedule(jnp.maximum(step - offset, 0)))


def _steps(config, data, option):
    section, field = option.split(".")
    return to_steps(
        config[section][field],
        name=option,
        batch_size=config.train.batch_size,
        tokens_per_row=config.data.sequence_length,
        steps_per_epoch=data.steps_per_epoch,
    )


def _durations(config, steps, stages):
    """Durations of the run in steps: what comes before a stage that begins anew is added to train.steps."""
    before = sum(stage.start for stage in stages if stage.fresh)
    durations = {
        "steps": steps("train.steps") + before,
        "log_every": steps("train.log_every"),
        "eval_every": steps("train.eval_every"),
        "checkpoint_every": steps("checkpoint.every"),
    }
    if config.checkpoint.keep_every is not None:
        durations["keep_every"] = steps("checkpoint.keep_every")
    for name, value in durations.items():
        if value < 1:
            raise ConfigError(f"{name} comes to {value} steps; it must be at least 1")
    if durations.get("keep_every", 0) % durations["checkpoint_every"]:
        raise ConfigError(
            f"checkpoint.keep_every comes to {durations['keep_every']} steps and checkpoint.every to "
            f"{durations['checkpoint_every']}: make the first a multiple of the second"
        )
    return {"keep_every": None, **durations}


def retention_of(run: Run) -> retention.Retention:
    """Which checkpoints of a run stay.

    Raises:
        ConfigError: checkpoint.best is no metric of validation, or checkpoints are not validated.
    """
    options, durations = run.config.checkpoint, run.durations
    if options.best and not options.best.startswith(retention.PREFIX):
        raise ConfigError(
            f"checkpoint.best={options.best} is not a metric of validation: write {retention.PREFIX}loss, or another"
        )
    every, validated = durations["checkpoint_every"], durations["eval_every"]
    if options.best and every % validated and validated % every:
        raise ConfigError(
            f"checkpoint.best={options.best}: checkpoints come every {every} steps and validation every {validated}, "
            "so that most checkpoints are not validated; make one of checkpoint.every and train.eval_every a "
            "multiple of the other"
        )
    if options.best not in ("", f"{retention.PREFIX}loss") and Validator(run).labelled is None:
        retention.check_best(options.best, Validator(run).loss_terms(run.program()))
    return retention.Retention(options.keep, every, durations["keep_every"], retention.best_of(options))
