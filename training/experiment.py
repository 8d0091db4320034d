"""From a configuration to everything a run needs, with every check made before anything is compiled."""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import data.pipeline
import models
import objectives
import tasks
from configs.base import NO_DECAY
from errors import ConfigError
from models import names
from models.composite import Composite
from parallel import mesh as meshes
from training import initial, trainable
from training.durations import to_steps
from training.optimizer import make_optimizer
from training.restore import heads_out
from training.schedules import make_schedule
from training.step import TrainState, eval_step, init_state, make_keys, train_step


@dataclasses.dataclass
class Experiment:
    """What a configuration comes to.

    Attributes:
        config: the configuration.
        mesh: the device mesh.
        tokenizer: data.tokenizers.Tokenizer.
        objective: objectives.base.Objective.
        model: the module or composite that the objective trains.
        split: training.trainable.Split.
        optimizer, schedule: what updates the trainable half.
        batches, validation: data.pipeline.Data of the two splits.
        shapes, axis_names: {name: shape} and {name: logical axes} of all parameters.
        durations: {"steps", "log_every", "eval_every", "checkpoint_every"} in steps.
        fingerprint: identifies the prepared data.
    """

    config: Any
    mesh: Any
    tokenizer: Any
    objective: Any
    model: Any
    split: Any
    optimizer: Any
    schedule: Any
    batches: Any
    validation: Any
    shapes: dict
    axis_names: dict
    durations: dict
    fingerprint: str

    @property
    def row_sharding(self):
        return meshes.row_sharding(self.mesh)

    @functools.cached_property
    def places(self):
        """The places in the global batch that this process reads."""
        return meshes.my_rows(self.row_sharding, self.config.train.batch_size)

    def rows(self, batches, step):
        """The rows of a step, on the devices."""
        rows = batches(step, self.places)
        return meshes.to_devices(rows, self.places, self.config.train.batch_size, self.row_sharding)

    def context(self):
        """The mesh and the axis rules: everything that is traced runs within."""
        return _Context(self.mesh)

    @functools.cached_property
    def keys(self):
        """Root random keys, on every device."""
        keys = make_keys(self.config.seed, self.config.train.dropout_generator)
        return jax.device_put(keys, meshes.replicated(self.mesh))

    @functools.cached_property
    def state_function(self):
        """() -> the state at step 0."""
        return functools.partial(
            init_state,
            jax.random.key(self.config.seed, impl="threefry2x32"),
            model=self.model,
            batch=models.example_batch(),
            split=self.split,
            optimizer=self.optimizer,
        )

    def abstract_rows(self):
        """{key: jax.ShapeDtypeStruct} of one global batch of rows."""
        first = self.batches(0, np.arange(1))
        size = self.config.train.batch_size
        return {
            k: jax.ShapeDtypeStruct((size, *v.shape[1:]), v.dtype, sharding=self.row_sharding) for k, v in first.items()
        }

    @functools.cached_property
    def abstract_state(self):
        """The state as jax.ShapeDtypeStruct with the shardings of its parts."""
        shapes = jax.eval_shape(self.state_function)
        full = {name: self.shapes[name] for name in self.shapes}
        full.update(self.split.trainable_shapes())
        places = meshes.placement(shapes, self.axis_names, full, self.mesh)
        return jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, places)

    @functools.cached_property
    def sources(self):
        """The training.initial.Source of each run that parameters come from; only a new state needs them.

        Raises:
            ConfigError: there is no such run, or it does not fit.
        """
        sources = initial.sources(self.config, self.objective, self.tokenizer)
        for source in sources:
            source.plan(self.shapes)
        return sources

    def new_state(self, report=print):
        """The state at step 0, every parameter born on its devices; then what comes from other runs is put in."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        with self.context():
            state = jax.jit(self.state_function, out_shardings=shardings)()

        def put(state, params, source):
            flat = source.put(names.flatten(self.split.merge(state.trainable, state.frozen)), params)
            trainable_half, frozen_half = self.split(names.unflatten(flat))
            return state.replace(trainable=trainable_half, frozen=frozen_half)

        put = jax.jit(put, static_argnames="source", out_shardings=shardings, donate_argnums=0)
        for source in self.sources:  # one after the other: a later one may bring some layers of what an earlier one did
            params = source.read(self.shapes, self.mesh, report)
            with self.context():
                state = put(state, params, source=source)
        return state

    def abstract_parameters(self):
        """The full parameter tree as jax.ShapeDtypeStruct with shardings."""
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in self.shapes.items()})
        places = meshes.placement(tree, self.axis_names, self.shapes, self.mesh)
        return jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, places)

    def full_parameters(self, state):
        """The full parameter tree of a state; whole parameters are not copied."""
        with self.context():
            return self.split.merge(state.trainable, state.frozen)

    def restore(self, checkpoints, step):
        """The state that a checkpoint holds, each array on its devices; without an optimizer's state, a fresh one."""
        wanted = {"params": self.abstract_parameters()}
        if checkpoints.has_optimizer(step):
            wanted["optimizer"] = self.abstract_state.opt_state
        parts = checkpoints.restore(step, **wanted)

        def assemble(params, opt_state):
            trainable_half, frozen_half = self.split(params)
            if opt_state is None:
                opt_state = self.optimizer.init(trainable_half)
            return TrainState(jnp.asarray(step, jnp.int32), trainable_half, frozen_half, opt_state)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        with self.context():
            return jax.jit(assemble, out_shardings=shardings)(parts["params"], parts.get("optimizer"))

    def trace_train_step(self):
        """The traced training step: `.jaxpr` to count, `.lower().compile()` to run as (state, rows, keys)."""
        step = functools.partial(
            train_step,
            model=self.model,
            objective=self.objective,
            split=self.split,
            optimizer=self.optimizer,
            schedule=self.schedule,
            microbatches=self.config.train.microbatches,
        )
        state_shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(state_shardings, meshes.replicated(self.mesh)))
        with self.context():
            return jitted.trace(self.abstract_state, self.abstract_rows(), self.keys)

    @functools.cached_property
    def eval_step(self):
        """The jitted validation step: (state, rows, key) -> {term: (sum, weight, coefficient)}."""
        objective = self.objective.for_validation()
        step = functools.partial(eval_step, model=self.model, objective=objective, split=self.split)
        return jax.jit(step, out_shardings=meshes.replicated(self.mesh))

    @property
    def validation_batches(self):
        """Number of validation batches: whole ones only, unless there is less than one."""
        return max(1, min(self.config.train.eval_batches, int(self.validation.steps_per_epoch)))

    @functools.cached_property
    def validation_key(self):
        """Corrupts validation batch i with fold_in(key, i), the same at every step of the run."""
        return jax.random.fold_in(jax.random.key(self.config.seed, impl="threefry2x32"), 3)

    def validate(self, state):
        """{metric: value} over the validation split, at most `train.eval_batches` batches, with fixed corruption.

        A metric is NaN where nothing is scored that it is of, and the loss where nothing at all is.
        """
        totals = {}
        with self.context():
            for index in range(self.validation_batches):
                rows = self.rows(self.validation, index)
                terms = jax.device_get(self.eval_step(state, rows, jax.random.fold_in(self.validation_key, index)))
                for name, term in terms.items():
                    old = totals.get(name, (0.0, 0.0))
                    totals[name] = (old[0] + float(term.sum), old[1] + float(term.weight))
        means = {name: total / weight if weight else math.nan for name, (total, weight) in totals.items()}
        parts = [float(term.coefficient) * means[n] for n, term in terms.items() if term.coefficient and totals[n][1]]
        loss = sum(parts) if parts else math.nan
        return {"loss": loss, **means}

    def parameter_counts(self):
        """(all, trainable): padding of the vocabulary does not count."""
        everything = trainable.count(self.shapes, self.axis_names, self.model.config)
        return everything, trainable.count(self.split.trainable_shapes(), self.axis_names, self.model.config)


class _Context:
    """Enters the mesh and the logical axis rules together."""

    def __init__(self, mesh):
        self._mesh = mesh

    def __enter__(self):
        self._managers = [jax.set_mesh(self._mesh), nn.logical_axis_rules(meshes.RULES)]
        for manager in self._managers:
            manager.__enter__()

    def __exit__(self, *exception):
        for manager in reversed(self._managers):
            manager.__exit__(*exception)


def build(config, tokenizer_directory=None, devices=None, report=print):
    """Makes and checks everything that a configuration asks for, short of compiling.

    Args:
        config: the resolved configuration.
        tokenizer_directory: a run's own saved tokenizer, which wins over config.tokenizer; None: the run is new, and
            other runs that its parameters come from are looked at now.
        devices: devices of the mesh; None: all.
        report: called with progress messages.

    Returns:
        Experiment.

    Raises:
        ConfigError, DataError: what is wrong and how to mend it.
    """
    check_options(config)
    objectives.check(config)
    mesh = meshes.make_mesh(config.mesh, devices)
    model_config = models.resolve(config.model)
    meshes.check_sizes(config, model_config, mesh.devices.shape)

    tokenizer = data.pipeline.open_tokenizer(config, tokenizer_directory, report)
    objective = objectives.build(config, tokenizer.tables, model_config)
    for remark in objective.remarks:
        report(remark)
    model_config = dataclasses.replace(model_config, heads_out=heads_out(config, objective))
    if objective.whole_batch and config.train.microbatches > 1:
        raise ConfigError(
            f"train.microbatches={config.train.microbatches}: objective.name={config.objective.name} compares the rows "
            "of a step with each other; set train.microbatches=1, and model.remat=full if memory is short"
        )
    task = tasks.read_by(config, objective.rows)
    batches = data.pipeline.open_batches(config, tokenizer, objective.rows, "train", task, report)
    _check_labels(config, model_config, batches)
    objective = objective.with_counts(batches.counts)
    validation = data.pipeline.open_batches(config, tokenizer, objective.rows, "validation", task, report)
    for part in (batches, validation):
        objective.check_rows(part)

    durations = _durations(config, batches)
    model, parameters, split = _model(config, model_config, objective)
    if isinstance(model, Composite):
        for name, part in model.parts.items():
            meshes.check_model(part.config, mesh.devices.shape, part=name)
    schedule, optimizer = _optimizer(config, durations, batches, split, report)
    experiment = Experiment(
        config=config,
        mesh=mesh,
        tokenizer=tokenizer,
        objective=objective,
        model=model,
        split=split,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
        validation=validation,
        shapes=parameters.shapes,
        axis_names=parameters.axis_names,
        durations=durations,
        fingerprint=batches.fingerprint,
    )
    if tokenizer_directory is None:
        _ = experiment.sources  # refuses now what does not fit
    return experiment


def _optimizer(config, durations, batches, split, report):
    """(schedule, optimizer of the trainable half)."""
    o = config.optimizer
    decay_steps = durations["steps"] if o.decay_steps is None else _steps(config, batches, "optimizer.decay_steps")
    if o.schedule in ("linear", "cosine") and not o.final_fraction and durations["steps"] > decay_steps:
        report(
            f"Note: the learning rate is 0 from step {decay_steps} on, but the run lasts until {durations['steps']}; "
            "raise optimizer.decay_steps as well"
        )
    schedule = make_schedule(
        o.schedule,
        o.learning_rate,
        warmup_steps=_steps(config, batches, "optimizer.warmup_steps"),
        decay_steps=decay_steps,
        final_fraction=o.final_fraction,
    )
    decay = names.match(o.decay_rules, split.shapes, "optimizer.decay_rules", optional=(NO_DECAY,))
    decay = split.trainable_values(decay)
    return schedule, make_optimizer(o, schedule, split.trainable_shapes(), decay)


def check_options(config):
    """Refuses numbers that no run can use; what depends on the model or the data is checked where it is known."""
    least = {
        "seed": 0,
        "train.batch_size": 1,
        "train.microbatches": 1,
        "train.eval_batches": 1,
        "data.sequence_length": 1,
        "data.prefetch": 1,
        "optimizer.learning_rate": 0,
        "optimizer.clip_norm": 0,
        "optimizer.weight_decay": 0,
        "checkpoint.keep": 1,
    }
    for option, smallest in least.items():
        section, _, field = option.rpartition(".")
        value = (config[section] if section else config)[field]
        if not value >= smallest:
            raise ConfigError(f"{option}={value} must be at least {smallest}")
    for field in ("beta1", "beta2", "muon_momentum"):
        if not 0 <= config.optimizer[field] < 1:
            raise ConfigError(f"optimizer.{field}={config.optimizer[field]} must lie in [0, 1)")
    generators = ("threefry2x32", "rbg", "unsafe_rbg")
    if config.train.dropout_generator not in generators:
        raise ConfigError(
            f"train.dropout_generator={config.train.dropout_generator!r} is not one of {', '.join(generators)}"
        )


def _check_labels(config, model_config, batches):
    """Refuses a classifier that has not as many classes as its task, and a task that is not read."""
    labels = len(batches.labels)
    if config.task.name and not labels:
        raise ConfigError(
            f"task.name={config.task.name}: objective.name={config.objective.name} reads text, not labelled examples; "
            "set objective.name=classification, or leave task.name empty"
        )
    if labels and model_config.num_labels != labels:
        raise ConfigError(
            f"the task has {labels} labels, model.num_labels={model_config.num_labels}: set model.num_labels={labels}"
        )


def _model(config, model_config, objective):
    """The model with its frozen layers, its models.Parameters, and the trainable split."""
    parameters = models.parameters(objective.model(model_config))
    rules = (*((pattern, False) for pattern in objective.frozen), *config.trainable)
    split = trainable.Split(rules, parameters.shapes)
    return objective.model(model_config, **split.frozen_layers()), parameters, split


def _steps(config, batches, option):
    section, field = option.split(".")
    return to_steps(
        config[section][field],
        name=option,
        batch_size=config.train.batch_size,
        tokens_per_row=config.data.sequence_length,
        steps_per_epoch=batches.steps_per_epoch,
    )


def _durations(config, batches):
    durations = {
        "steps": _steps(config, batches, "train.steps"),
        "log_every": _steps(config, batches, "train.log_every"),
        "eval_every": _steps(config, batches, "train.eval_every"),
        "checkpoint_every": _steps(config, batches, "checkpoint.every"),
    }
    for name, value in durations.items():
        if value < 1:
            raise ConfigError(f"{name} comes to {value} steps; it must be at least 1")
    return durations
