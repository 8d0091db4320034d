"""What a configuration comes to: the state of a run, its steps and what they read; training/build.py makes one."""

import dataclasses
import functools
import math
import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cloze import models, tasks
from cloze.models import names
from cloze.parallel import mesh as meshes
from cloze.tasks import metrics, predict
from cloze.training import initial, methods, trainable, updates
from cloze.training.step import TrainState, eval_step, init_state, make_keys, train_step


@dataclasses.dataclass
class Experiment:
    """What a configuration comes to, in one stage of it.

    Attributes:
        config: the configuration.
        mesh: the device mesh.
        tokenizer: data.tokenizers.Tokenizer.
        objective: objectives.base.Objective.
        schedule: step -> learning rate.
        model: the module or composite that the objective trains.
        split: training.trainable.Split.
        optimizer: what updates the trainable half.
        batches, validation: data.pipeline.Data of the two splits.
        shapes, axis_names: {name: shape} and {name: logical axes} of all parameters.
        durations: {"steps", "log_every", "eval_every", "checkpoint_every"} in steps.
        fingerprint: identifies the prepared data.
        stages: the training.methods.Stage of the run.
        parts_of: number of a stage -> {"model", "split", "optimizer"} in it.
        stage: the number of this one.
        privacy: training.private.Settings; None: training is not private.
        known: what has been found out and holds in every stage: "sources", once they are opened.
    """

    config: Any
    mesh: Any
    tokenizer: Any
    objective: Any
    schedule: Any
    model: Any
    split: Any
    optimizer: Any
    batches: Any
    validation: Any
    shapes: dict
    axis_names: dict
    durations: dict
    fingerprint: str
    stages: tuple
    parts_of: Any
    stage: int = 0
    privacy: Any = None
    known: dict = dataclasses.field(default_factory=dict)

    @property
    def row_sharding(self):
        return meshes.row_sharding(self.mesh)

    def rows(self, batches, step):
        """The rows of a step, on the devices."""
        size = batches.size(step)
        places = meshes.my_rows(self.row_sharding, size)
        return meshes.to_devices(batches.batches(step, places), self.row_sharding)

    def at_stage(self, number):
        """The experiment in another stage."""
        return self if number == self.stage else dataclasses.replace(self, stage=number, **self.parts_of(number))

    def enter(self, number, state):
        """The experiment in a later stage, and the state in it: what has trained so far goes on (see Stage.fresh).

        Args:
            number: of the stage.
            state: TrainState of this one; donated.
        """
        new = self.at_stage(number)

        def move(state):
            trainable_half, frozen_half = new.split(self.split.merge(state.trainable, state.frozen))
            clean = new.optimizer.init(trainable_half)
            opt_state = updates.carry(clean, state.opt_state, self.stages[number].fresh)
            return TrainState(state.step, trainable_half, frozen_half, opt_state)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, new.abstract_state)
        with self.context(), warnings.catch_warnings():
            # The two halves are cut anew: what changes its shape is copied.
            warnings.filterwarnings("ignore", "Some donated buffers were not usable")
            return new, jax.jit(move, out_shardings=shardings, donate_argnums=0)(state)

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
        if "sources" not in self.known:
            self.known["sources"] = initial.sources(self.config, self.objective, self.tokenizer)
        for source in self.known["sources"]:
            source.plan(self.shapes, self.axis_names)
        return self.known["sources"]

    def new_state(self, report=print):
        """The state at step 0, every parameter born on its devices; then what comes from other runs is put in."""
        if not methods.saves_all(self.config):
            initial.describe_base(self.sources)  # checkpoints shall name what is read now, whatever becomes of it
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        with self.context():
            state = jax.jit(self.state_function, out_shardings=shardings)()

        def put(state, params, source):
            merged = names.flatten(self.split.merge(state.trainable, state.frozen))
            flat = source.put(merged, params, self.axis_names)
            trainable_half, frozen_half = self.split(names.unflatten(flat))
            return state.replace(trainable=trainable_half, frozen=frozen_half)

        put = jax.jit(put, static_argnames="source", out_shardings=shardings, donate_argnums=0)
        for source in self.sources:  # one after the other: a later one may bring some layers of what an earlier one did
            params = source.read(self.shapes, self.axis_names, self.mesh, report)
            with self.context():
                state = put(state, params, source=source)
        begun = methods.of(self.config).begin(lambda: self.full_parameters(state), self._frequent_tokens)
        if begun is None:
            return state
        trainable_half, frozen_half = self.split(begun)
        return state.replace(trainable=trainable_half, frozen=frozen_half)

    def _frequent_tokens(self, count):
        """The most frequent tokens of the training text, special ones apart."""
        tables, counts = self.tokenizer.tables, self.batches.counts
        text = np.flatnonzero(~tables.special[: len(counts)])
        return text[np.argsort(-counts[text], kind="stable")][:count]

    def abstract_parameters(self):
        """The full parameter tree as jax.ShapeDtypeStruct with shardings."""
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in self.shapes.items()})
        places = meshes.placement(tree, self.axis_names, self.shapes, self.mesh)
        return jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, places)

    def full_parameters(self, state):
        """The full parameter tree of a state; whole parameters are not copied."""
        with self.context():
            return self.split.merge(state.trainable, state.frozen)

    def saved_parameters(self, state):
        """What a checkpoint holds of a state's parameters: all, or those alone that train."""
        return self.full_parameters(state) if methods.saves_all(self.config) else state.trainable

    def seal(self):
        """What a checkpoint says of itself beside the configuration: its stage, and where the rest of it is."""
        if methods.saves_all(self.config):
            return {"stage": self.stage}
        return {"stage": self.stage, "base": initial.describe_base(self.sources)}

    def restore(self, checkpoints, step, report=print):
        """The state that a checkpoint of this stage holds, each array on its devices.

        Without an optimizer's state in it, a fresh one; what it lacks of the parameters is made again.
        """
        whole = methods.saves_all(self.config)
        abstract = self.abstract_state
        wanted = {"params": self.abstract_parameters() if whole else abstract.trainable}
        if checkpoints.has_optimizer(step):
            wanted["optimizer"] = abstract.opt_state
        frozen = None
        if not whole:
            workdir, seal = checkpoints.directory.parent, checkpoints.read_seal(step)
            self.known["sources"] = initial.base_of(workdir, seal, self.config, self.objective, self.tokenizer)
            frozen = self.new_state(report).frozen
        parts = checkpoints.restore(step, **wanted)

        def assemble(params, frozen, opt_state):
            trainable_half, frozen_half = self.split(params) if whole else (params, frozen)
            if opt_state is None:
                opt_state = self.optimizer.init(trainable_half)
            return TrainState(jnp.asarray(step, jnp.int32), trainable_half, frozen_half, opt_state)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
        with self.context():
            return jax.jit(assemble, out_shardings=shardings)(parts["params"], frozen, parts.get("optimizer"))

    def trace_train_step(self, rows=None):
        """The traced training step: `.jaxpr` to count, `.lower().compile()` to run as (state, rows, keys).

        Args:
            rows: arrays of the shapes that it is for; None: those of the first step.
        """
        rows = self.rows(self.batches, 0) if rows is None else rows
        abstract = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding) for k, v in rows.items()}
        step = functools.partial(
            train_step,
            model=self.model,
            objective=self.objective,
            split=self.split,
            optimizer=self.optimizer,
            schedule=self.schedule,
            microbatches=self.config.train.microbatches,
            privacy=self.privacy,
        )
        state_shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(state_shardings, meshes.replicated(self.mesh)))
        with self.context():
            return jitted.trace(self.abstract_state, abstract, self.keys)

    @functools.cached_property
    def eval_step(self):
        """The jitted validation step: (state, rows, key) -> what `training.step.eval_step` gives."""
        objective = self.objective.for_validation()
        kind = self.config.task.kind if self.labelled is not None else None
        step = functools.partial(eval_step, model=self.model, objective=objective, split=self.split, kind=kind)
        return jax.jit(step, out_shardings=meshes.replicated(self.mesh))

    @functools.cached_property
    def labelled(self):
        """(the Task, its validation examples) whose metrics validation gives; None where a model has no head for it."""
        if self.objective.rows.kind != "examples" or self.config.task.kind not in predict.HEAD_OF:
            return None
        (task,) = tasks.read_by(self.config, self.objective.rows)
        return task, list(task.examples("validation"))

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

        A metric is NaN where nothing is scored that it is of, and the loss where nothing at all is. Of labelled
        examples the metrics of the task are among them, where all batches are read.
        """
        totals, answers = {}, []
        with self.context():
            for index in range(self.validation_batches):
                rows = self.rows(self.validation, index)
                key = jax.random.fold_in(self.validation_key, index)
                terms, scores = jax.device_get(self.eval_step(state, rows, key))
                answers.append(scores)
                for name, term in terms.items():
                    old = totals.get(name, (0.0, 0.0))
                    totals[name] = (old[0] + float(term.sum), old[1] + float(term.weight))
        means = {name: total / weight if weight else math.nan for name, (total, weight) in totals.items()}
        parts = [float(term.coefficient) * means[n] for n, term in terms.items() if term.coefficient and totals[n][1]]
        loss = sum(parts) if parts else math.nan
        return {"loss": loss, **means, **self._task_metrics(answers)}

    def _task_metrics(self, answers):
        """{metric: value} of the task, from what the head gives to each batch of the validation split."""
        if self.labelled is None or len(answers) < self.validation.steps_per_epoch:
            return {}
        task, examples = self.labelled
        features = self.validation.features
        found = predict.from_heads(task, examples, features, answers, self.config.task)
        return metrics.score(task, found, examples)

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
