"""The program of a stage of a run: its model, what of it trains, its optimizer, and the steps compiled from these."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models
from cloze.models import names
from cloze.models.adapted import prompt_from_vocabulary
from cloze.parallel import cost
from cloze.parallel import mesh as meshes
from cloze.tasks import predict
from cloze.training import initial, methods, trainable, updates
from cloze.training.gradients import Loss, make_gradient
from cloze.training.optimizers.base import NO_DECAY
from cloze.training.step import TrainState, eval_step, train_step


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """What a stage computes with.

    Attributes:
        run: training.run.Run.
        stage: number of the stage.
        model: the module or composite that the objective trains.
        split: training.trainable.Split.
        optimizer: the optax transformation that updates the trainable half.
    """

    run: Any
    stage: int
    model: Any
    split: trainable.Split
    optimizer: Any

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """The state as jax.ShapeDtypeStruct with the shardings of its parts."""
        shapes = {**self.run.shapes, **self.split.trainable_shapes()}
        return self._placed(jax.eval_shape(self._initialised), shapes)

    @functools.cached_property
    def abstract_parameters(self) -> dict:
        """The full parameter tree as jax.ShapeDtypeStruct with shardings."""
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in self.run.shapes.items()})
        return self._placed(tree, self.run.shapes)

    def _placed(self, tree, shapes):
        shardings = meshes.placement(tree, self.run.axis_names, shapes, self.run.mesh)
        return jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, shardings)

    def _initialised(self):
        key = jax.random.key(self.run.config.seed, impl="threefry2x32")
        return self._begun(meta.unbox(self.model.init(key, models.example_batch()))["params"])

    def _begun(self, params):
        """The state at step 0 of a full parameter tree."""
        trainable_half, frozen_half = self.split(params)
        return TrainState(jnp.zeros((), jnp.int32), trainable_half, frozen_half, self.optimizer.init(trainable_half))

    @functools.cached_property
    def _shardings(self):
        return jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)

    def new_state(self, report: Callable[[str], None] = print, sources: list | None = None) -> TrainState:
        """The state at step 0, every parameter born on its devices; then what comes from elsewhere is put in.

        Args:
            report: called with messages.
            sources: the training.initial.Source that parameters come from; None: those of the run.
        """
        run = self.run
        sources = run.sources if sources is None else sources
        if not methods.saves_all(run.config):
            initial.describe_base(sources)  # checkpoints shall name what is read now, whatever becomes of it
        with run.context():
            state = jax.jit(self._initialised, out_shardings=self._shardings)()

        def put(state, params, source):
            merged = names.flatten(self.split.merge(state.trainable, state.frozen))
            trainable_half, frozen_half = self.split(names.unflatten(source.put(merged, params, run.axis_names)))
            return state.replace(trainable=trainable_half, frozen=frozen_half)

        put = jax.jit(put, static_argnames="source", out_shardings=self._shardings, donate_argnums=0)
        for source in sources:  # one after the other: a later one may bring some layers of what an earlier one did
            params = source.read(run.shapes, run.axis_names, run.mesh, report)
            with run.context():
                state = put(state, params, source=source)
        return self._with_prompt(state)

    def _with_prompt(self, state):
        """The state whose prompt, if it has one that trains, begins as the vectors of the most frequent tokens."""
        f = self.run.config.finetune
        if f.method != "prompt" or f.prompt_init != "vocabulary":
            return state
        tables, counts = self.run.tokenizer.tables, self.run.data["train"].counts
        text = np.flatnonzero(~tables.special[: len(counts)])
        ids = text[np.argsort(-counts[text], kind="stable")][: f.prompt_length]
        params = prompt_from_vocabulary(self.full_parameters(state), ids)
        trainable_half, frozen_half = self.split(params)
        return state.replace(trainable=trainable_half, frozen=frozen_half)

    def restore(self, checkpoints: Any, step: int, report: Callable[[str], None] = print) -> TrainState:
        """The state that a checkpoint of this stage holds, each array on its devices.

        Without an optimizer's state in it, a fresh one; what it lacks of the parameters is made again.

        Args:
            checkpoints: training.checkpoint.Checkpoints.
            step: of the checkpoint.
            report: called with messages.
        """
        run, whole = self.run, methods.saves_all(self.run.config)
        wanted = {"params": self.abstract_parameters if whole else self.abstract_state.trainable}
        if checkpoints.has_optimizer(step):
            wanted["optimizer"] = self.abstract_state.opt_state
        frozen = None
        if not whole:
            workdir, seal = checkpoints.directory.parent, checkpoints.read_seal(step)
            sources = initial.base_of(workdir, seal, run.config, run.objective, run.tokenizer)
            frozen = self.new_state(report, sources).frozen
        parts = checkpoints.restore(step, **wanted)

        def assemble(params, frozen, opt_state):
            trainable_half, frozen_half = self.split(params) if whole else (params, frozen)
            opt_state = self.optimizer.init(trainable_half) if opt_state is None else opt_state
            return TrainState(jnp.asarray(step, jnp.int32), trainable_half, frozen_half, opt_state)

        with run.context():
            return jax.jit(assemble, out_shardings=self._shardings)(parts["params"], frozen, parts.get("optimizer"))

    def enter(self, stage: int, state: TrainState) -> tuple["Program", TrainState]:
        """The program of a later stage, and the state in it: what has trained so far goes on (see Stage.fresh).

        Args:
            stage: its number.
            state: TrainState of this one; donated.
        """
        new, fresh = self.run.program(stage), self.run.stages[stage].fresh
        self.compiled_steps.clear()  # a stage does not come again

        def move(state):
            begun = new._begun(self.split.merge(state.trainable, state.frozen))
            return begun.replace(step=state.step, opt_state=updates.carry(begun.opt_state, state.opt_state, fresh))

        with self.run.context(), warnings.catch_warnings():
            # The two halves are cut anew: what changes its shape is copied.
            warnings.filterwarnings("ignore", "Some donated buffers were not usable")
            return new, jax.jit(move, out_shardings=new._shardings, donate_argnums=0)(state)

    def full_parameters(self, state: TrainState) -> dict:
        """The full parameter tree of a state; whole parameters are not copied."""
        with self.run.context():
            return self.split.merge(state.trainable, state.frozen)

    def saved_parameters(self, state: TrainState) -> dict:
        """What a checkpoint holds of a state's parameters: all, or those alone that train."""
        return self.full_parameters(state) if methods.saves_all(self.run.config) else state.trainable

    def parameter_counts(self) -> tuple[int, int]:
        """(all, trainable): padding of the vocabulary does not count."""
        shapes, axis_names = self.run.shapes, self.run.axis_names
        everything = trainable.count(shapes, axis_names, self.model.config)
        return everything, trainable.count(self.split.trainable_shapes(), axis_names, self.model.config)

    def trace_train_step(self, rows: dict | None = None) -> jax.stages.Traced:
        """The traced training step: `.jaxpr` to count, `.lower().compile()` to run as (state, rows, keys).

        Args:
            rows: arrays of the shapes that it is for; None: those of the first step.
        """
        run = self.run
        rows = run.rows(run.data["train"], 0) if rows is None else rows
        abstract = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding) for k, v in rows.items()}
        loss = Loss(self.model, run.objective, self.split)
        step = functools.partial(
            train_step,
            gradient=make_gradient(loss, run.config.train.microbatches, run.privacy),
            objective=run.objective,
            optimizer=self.optimizer,
            schedule=run.schedule,
        )
        shardings = (self._shardings, meshes.replicated(run.mesh))
        with run.context():
            return jax.jit(step, donate_argnums=0, out_shardings=shardings).trace(
                self.abstract_state, abstract, run.keys
            )

    @functools.cached_property
    def compiled_steps(self) -> dict:
        """{shapes of rows: (compiled step, its operations over all devices)}."""
        return {}

    def train_step(self, rows: dict, report: Callable[[str], None]) -> tuple[Callable, float, float]:
        """The compiled step for rows of some shapes, compiled when they first come.

        Args:
            rows: dict of arrays on the devices.
            report: called with a line on what is compiled.

        Returns:
            ((state, rows, keys) -> (state, metrics), its operations over all devices, seconds of compiling now).
        """
        key = tuple(sorted((name, array.shape) for name, array in rows.items()))
        if key in self.compiled_steps:
            return *self.compiled_steps[key], 0.0
        began = time.perf_counter()
        traced = self.trace_train_step(rows)
        with self.run.context():
            compiled = traced.lower().compile()
        self.compiled_steps[key] = (compiled, cost.count_flops(traced.jaxpr))
        seconds = time.perf_counter() - began
        report(cost.compiled_line(rows, compiled, self.compiled_steps[key][1], seconds))
        return *self.compiled_steps[key], seconds

    @functools.cached_property
    def eval_step(self) -> Callable:
        """The jitted validation step: (state, rows, key) -> what `training.step.eval_step` gives."""
        objective, kind = self.run.objective.for_validation(), scored_kind(self.run)
        step = functools.partial(eval_step, model=self.model, objective=objective, split=self.split, kind=kind)
        return jax.jit(step, out_shardings=meshes.replicated(self.run.mesh))


def scored_kind(run) -> str | None:
    """The kind of the labelled examples whose metrics validation gives; None where the model has no head for them."""
    kind = run.config.task.kind
    return kind if run.objective.rows.kind == "examples" and kind in predict.HEAD_OF else None


def make_program(run, stage: int) -> Program:
    """The program of a stage of a run.

    Raises:
        ConfigError: rules over names of parameters that do not fit the model.
    """
    config, o, shapes = run.config, run.config.optimizer, run.shapes
    splits = [trainable.of_stage(config, run.objective, one, shapes) for one in run.stages[: stage + 1]]
    split = splits[-1]
    decay = names.match(o.decay_rules, shapes, "optimizer.decay_rules", optional=(NO_DECAY,))
    factors = methods.multipliers(o, shapes)
    plain = all(np.all(np.asarray(factor) == 1) for factor in factors.values())
    optimizer = updates.make_optimizer(
        updates.from_config(o),
        run.schedule,
        split.trainable_shapes(),
        split.trainable_values(decay),
        None if plain else split.trainable_values(factors),
        split.trainable_values(_began(splits)) if len(run.stages) > 1 else None,
    )
    model = methods.make_model(config, run.objective, run.model_config, **split.frozen_layers())
    return Program(run, stage, model, split, optimizer)


def _began(splits):
    """{name: number of the stage, or one for each layer} in which a parameter began to train; later than all: never."""
    found = {}
    for name, mask in splits[-1].mask.items():
        began = np.argmax([split.mask[name] for split in splits], axis=0)
        found[name] = np.where(mask, began, len(splits))
    return {name: value if names.is_stacked(name) else value[0] for name, value in found.items()}
