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

from cloze.models import names
from cloze.models.backends import choice
from cloze.parallel import cost
from cloze.parallel import mesh as meshes
from cloze.parallel.memory import Estimator, device_memory
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
    def abstract_parameters(self) -> dict:
        """The full parameter tree as jax.ShapeDtypeStruct with shardings."""
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in self.run.shapes.items()})
        return self._placed(tree, self.run.shapes)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """The state as jax.ShapeDtypeStruct with the shardings of its parts."""
        shapes = {**self.run.shapes, **self.split.trainable_shapes()}
        return self._placed(jax.eval_shape(self._begin, self.abstract_parameters), shapes)

    def _placed(self, tree, shapes):
        shardings = meshes.placement(tree, self.run.axis_names, shapes, self.run.mesh)
        return jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), tree, shardings)

    def _begin(self, params):
        """The state at step 0 with a full parameter tree."""
        trainable_half, frozen_half = self.split(params)
        ema = trainable_half if self.run.config.train.ema_decay else None
        opt_state = self.optimizer.init(trainable_half)
        return TrainState(jnp.zeros((), jnp.int32), trainable_half, frozen_half, opt_state, ema)

    def new_state(self, report: Callable[[str], None] = print, donors: list | None = None) -> TrainState:
        """The state at step 0, every parameter born on its devices; then what comes from elsewhere is put in.

        Args:
            report: called with messages.
            donors: the training.donor.Donor that parameters come from; None: those of the run.
        """
        run = self.run
        donors = run.donors if donors is None else donors
        if not methods.saves_all(run.config):
            initial.describe_base(donors)  # checkpoints shall name what is read now, whatever becomes of it
        shardings = _shardings(self.abstract_parameters)
        with run.context():
            params = initial.drawn(run.config.seed, self.model, shardings)

        def put(params, offered, donor):
            return names.unflatten(donor.put(names.flatten(params), offered, run.axis_names))

        put = jax.jit(put, static_argnames="donor", out_shardings=shardings, donate_argnums=0)
        for donor in donors:  # one after the other: a later one may bring some layers of what an earlier one did
            offered = donor.read(run.shapes, run.axis_names, run.mesh, report)
            with run.context():
                params = put(params, offered, donor=donor)
        return self._state(self._begin, methods.of(run.config).begin(params, self._frequent_tokens))

    def _state(self, function, given):
        """The state that a function makes of something, which is donated."""
        with self.run.context(), warnings.catch_warnings():
            # Halves are cut anew: what changes its shape is copied.
            warnings.filterwarnings("ignore", "Some donated buffers were not usable")
            return jax.jit(function, out_shardings=_shardings(self.abstract_state), donate_argnums=0)(given)

    def _frequent_tokens(self, count):
        """The most frequent tokens of the training text, special ones apart."""
        tables, counts = self.run.tokenizer.tables, self.run.data["train"].counts
        text = np.flatnonzero(~tables.special[: len(counts)])
        return text[np.argsort(-counts[text], kind="stable")][:count]

    def restore(self, checkpoints: Any, step: int, report: Callable[[str], None] = print) -> TrainState:
        """The state that a checkpoint of this stage holds, each array on its devices.

        Without an optimizer's state in it, a fresh one; what it lacks of the parameters is made again; an average
        that it lacks begins as they are.

        Args:
            checkpoints: training.checkpoint.Checkpoints.
            step: of the checkpoint.
            report: called with messages.
        """
        run, whole = self.run, methods.saves_all(self.run.config)
        wanted = {"params": self.abstract_parameters if whole else self.abstract_state.trainable}
        if checkpoints.has("optimizer", step):
            wanted["optimizer"] = self.abstract_state.opt_state
        if run.config.train.ema_decay and checkpoints.has("ema", step):
            wanted["ema"] = self.abstract_state.ema
        parts = {}
        if not whole:
            workdir, seal = checkpoints.directory.parent, checkpoints.read_seal(step)
            donors = initial.base_of(workdir, seal, run.config, run.objective, run.tokenizer)
            parts["frozen"] = self.new_state(report, donors).frozen
        parts |= checkpoints.restore(step, **wanted)

        def assemble(parts):
            params = parts["params"] if whole else self.split.merge(parts["params"], parts["frozen"])
            state = self._begin(params).replace(step=jnp.asarray(step, jnp.int32))
            return state.replace(opt_state=parts.get("optimizer", state.opt_state), ema=parts.get("ema", state.ema))

        return self._state(assemble, parts)

    def enter(self, stage: int, state: TrainState) -> tuple["Program", TrainState]:
        """The program of a later stage, and the state in it: what has trained so far goes on (see Stage.fresh).

        Args:
            stage: its number.
            state: TrainState of this one; donated.
        """
        new, fresh = self.run.program(stage), self.run.stages[stage].fresh
        self.compiled_steps.clear()  # a stage does not come again

        def move(state):
            begun = new._begin(self.split.merge(state.trainable, state.frozen))
            ema = state.ema if state.ema is None else new.split(self.split.merge(state.ema, state.frozen))[0]
            opt_state = updates.carry(begun.opt_state, state.opt_state, fresh)
            return begun.replace(step=state.step, opt_state=opt_state, ema=ema)

        return new, new._state(move, state)

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

    @functools.cached_property
    def gradient_names(self) -> list[str]:
        """Names of the parameters that train, each layer's by itself, as metrics "gradient_norms" has them."""
        found = []
        for name, mask in sorted(self.split.mask.items()):
            if names.is_stacked(name):
                found += [one for one, trains in zip(names.layer_names(name, len(mask)), mask, strict=True) if trains]
            elif mask.any():
                found.append(name)
        return found

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
            ema_decay=run.config.train.ema_decay,
            skips=run.config.train.on_divergence == "skip",
        )
        shardings = (_shardings(self.abstract_state), meshes.replicated(run.mesh))
        with run.context():
            return jax.jit(step, donate_argnums=0, out_shardings=shardings).trace(
                self.abstract_state, abstract, run.abstract_keys
            )

    def estimator(self, traced: jax.stages.Traced, rows: dict, platform: str) -> Estimator:
        """What a traced step needs on one device.

        Args:
            traced: of `trace_train_step`.
            rows: arrays of the shapes that it is for.
            platform: that it is compiled for: "tpu", "gpu" or "cpu".
        """
        rows = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in rows.items()}
        # XLA for accelerators casts all kernels to the compute type once, before the loop over layers.
        copied = platform != "cpu" and self.model.config.dtype == "bfloat16"
        return Estimator(traced, self.abstract_state, rows, platform, copies=2 if copied else 0)

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
        with choice.recorded() as choices:
            traced = self.trace_train_step(rows)
        available = device_memory()  # not known on a CPU, for which the estimate is too low as well
        if available is not None and not self.compiled_steps:
            estimate = self.estimator(traced, rows, jax.default_backend())(dict(self.run.mesh.shape))
            report(estimate.line(available))
        with self.run.context():
            compiled = traced.lower().compile()
        self.compiled_steps[key] = (compiled, cost.count_flops(traced.jaxpr))
        seconds = time.perf_counter() - began
        report(cost.compiled_line(rows, compiled, self.compiled_steps[key][1], seconds))
        if choices and len(self.compiled_steps) == 1:
            report(choice.line(choices))
        return *self.compiled_steps[key], seconds

    @functools.cached_property
    def eval_step(self) -> Callable:
        """The jitted validation step: (state, rows, key) -> what `training.step.eval_step` gives."""
        objective, kind = self.run.objective.for_validation(), scored_kind(self.run)
        step = functools.partial(eval_step, model=self.model, objective=objective, split=self.split, kind=kind)
        return jax.jit(step, out_shardings=meshes.replicated(self.run.mesh))


def _shardings(abstract):
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


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
