"""One step of training, and one of validation, as pure functions of (state, rows, keys)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from cloze.models import random_bits
from cloze.tasks.predict import head_scores
from cloze.training.divergence import FINITE
from cloze.training.gradients import means, place_rows, total
from cloze.training.updates import global_norm, norms_by_parameter


@struct.dataclass
class TrainState:
    """All that a run remembers.

    Attributes:
        step: int32, updates made so far.
        trainable: nested tree of the parameters that train.
        frozen: nested tree of those that do not; it has no gradient and no optimizer state.
        opt_state: the optimizer's state for `trainable`.
        ema: tree like `trainable`, its exponential moving average; None: none is kept.
    """

    step: Any
    trainable: Any
    frozen: Any
    opt_state: Any
    ema: Any = None


@struct.dataclass
class Keys:
    """Random keys: the roots of a run, or those of one of its steps.

    Attributes:
        corrupt: threefry key of the objective's choices.
        dropout: key of the generator chosen for dropout.
        noise: threefry key of the noise on private gradients.
    """

    corrupt: Any
    dropout: Any
    noise: Any

    def at(self, step: jax.typing.ArrayLike) -> "Keys":
        """The keys of a step, from the roots."""
        return Keys(*(jax.random.fold_in(key, step) for key in (self.corrupt, self.dropout, self.noise)))


def make_keys(seed: int, dropout_generator: str) -> Keys:
    """The root keys of a seed."""
    corrupt = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 1)
    dropout = jax.random.fold_in(random_bits.key(seed, dropout_generator), 2)
    noise = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 4)
    return Keys(corrupt, dropout, noise)


def train_step(state, rows, keys, *, gradient, objective, optimizer, schedule, ema_decay=0.0, skips=False):
    """Corrupts the rows, takes the gradient of the trainable half, and updates it.

    Args:
        state: TrainState; donated.
        rows: dict of arrays [batch_size, ...] as data gives them.
        keys: the run's root Keys.
        gradient: see training.gradients.
        objective: objectives.base.Objective.
        optimizer: optax transformation.
        schedule: step -> learning rate.
        ema_decay: of the average in the state, where it has one.
        skips: make no update where a loss, gradient or parameter would not be finite; the step counts all the same.

    Returns:
        (new state, {metric: f32 scalar}, and among them "gradient_norms" f32 [n], see updates.norms_by_parameter).
    """
    keys = keys.at(state.step)
    batch = place_rows(objective.corrupt(keys.corrupt, rows))
    grads, terms, besides = gradient(state, batch, rows, keys)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
    trainable = optax.apply_updates(state.trainable, updates)
    metrics = {
        "loss": total(terms),
        **means(terms),
        "grad_norm": global_norm(grads),
        "param_norm": global_norm(trainable),
        "learning_rate": schedule(state.step),
        "tokens": _count_tokens(batch),
        "gradient_norms": norms_by_parameter(grads),
        **besides,
    }
    ema = state.ema if state.ema is None else optax.incremental_update(trainable, state.ema, 1 - ema_decay)
    new = state.replace(step=state.step + 1, trainable=trainable, opt_state=opt_state, ema=ema)
    if not skips:
        return new, metrics
    good = jnp.all(jnp.isfinite(jnp.stack([metrics[name] for name in FINITE])))
    return _unless(good, state, new), metrics | {"skipped": 1.0 - good}


def _unless(good, old, new):
    """The new state, with all that the update has changed as it was, if it is not good.

    The last part of the optimizer's state counts the run's steps, by which the rate goes.
    """

    def choose(old, new):
        return jax.tree.map(lambda a, b: jnp.where(good, b, a), old, new)

    opt_state = (*choose(old.opt_state[:-1], new.opt_state[:-1]), new.opt_state[-1])
    return new.replace(
        trainable=choose(old.trainable, new.trainable), opt_state=opt_state, ema=choose(old.ema, new.ema)
    )


def eval_step(state, rows, key, *, model, objective, split, kind=None):
    """What a validation batch, corrupted with `key` and without dropout, is worth.

    Args:
        state: TrainState.
        rows: dict of arrays [B, ...] as data gives them.
        key: threefry key.
        model: the module or composite.
        objective: objectives.base.Objective, for validation.
        split: training.trainable.Split.
        kind: of the labelled examples that the rows are, if the head's scores are wanted; see tasks.predict.

    Returns:
        ({term: (sum, weight, coefficient)}, (scores [B, ...], `row_id` [B]), or None without a kind).
    """
    batch = place_rows(objective.corrupt(key, rows))
    outputs = model.apply({"params": split.merge(state.trainable, state.frozen)}, batch, deterministic=True)
    scores = None if kind is None else (head_scores(outputs, kind), rows["row_id"])
    return objective.loss(outputs, batch), scores


def _count_tokens(batch):
    """Tokens that are not padding, over all streams, f32."""
    total = 0.0
    for prefix in ("", "decoder_"):
        if f"{prefix}tokens" in batch:
            segments = batch.get(f"{prefix}segments")
            if segments is None:
                total += float(batch[f"{prefix}tokens"].size)
            else:
                total += jnp.sum(segments > 0).astype(jnp.float32)
    return jnp.asarray(total, jnp.float32)
