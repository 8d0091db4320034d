"""One step of training, and one of validation, as pure functions of (state, rows, keys)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.core import meta

from cloze.models import axes
from cloze.models.heads import HEADS
from cloze.objectives.base import Term
from cloze.tasks.predict import head_scores
from cloze.training.private import private_gradient


@struct.dataclass
class TrainState:
    """All that a run remembers.

    Attributes:
        step: int32, updates made so far.
        trainable: nested tree of the parameters that train.
        frozen: nested tree of those that do not; it has no gradient and no optimizer state.
        opt_state: the optimizer's state for `trainable`.
    """

    step: Any
    trainable: Any
    frozen: Any
    opt_state: Any


@struct.dataclass
class Keys:
    """Root random keys of a run; step t uses fold_in(key, t).

    Attributes:
        corrupt: threefry key of the objective's choices.
        dropout: key of the generator chosen for dropout.
        noise: threefry key of the noise on private gradients.
    """

    corrupt: Any
    dropout: Any
    noise: Any


def make_keys(seed, dropout_generator):
    """The root keys of a seed."""
    corrupt = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 1)
    dropout = jax.random.fold_in(jax.random.key(seed, impl=dropout_generator), 2)
    noise = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 4)
    return Keys(corrupt, dropout, noise)


def init_state(key, *, model, batch, split, optimizer):
    """The state at step 0. Run it under jit with output shardings, so that parameters are born in place."""
    params = meta.unbox(model.init(key, batch))["params"]
    trainable, frozen = split(params)
    return TrainState(jnp.zeros((), jnp.int32), trainable, frozen, optimizer.init(trainable))


def _terms_total(terms, weights):
    """Sum over terms of coefficient * sum / weight; an empty term counts 0."""
    total = 0.0
    for name, term in terms.items():
        weight = weights[name]
        total += term.coefficient * term.sum / jnp.where(weight > 0, weight, 1.0)
    return total


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


def _place_rows(batch):
    """Cuts every array of the batch by rows."""

    def place(leaf):
        if leaf.ndim == 0:
            return leaf
        return axes.constrain(leaf, axes.BATCH, *[None] * (leaf.ndim - 1))

    return jax.tree.map(place, batch)


def _deterministic(config):
    """Whether the model draws nothing at random: the dropout of heads counts where there is a head that has it."""
    rates = ["dropout", "attention_dropout", "activation_dropout", "final_dropout"]
    rates += [rate for name in config.heads_out for rate in HEADS[name].rates]
    return not any(getattr(config, rate) for rate in rates)


def train_step(state, rows, keys, *, model, objective, split, optimizer, schedule, microbatches, privacy=None):
    """Corrupts the rows, takes the gradient of the trainable half, and updates it.

    The loss is the sum over terms of coefficient * sum / weight, with sums and weights over the whole batch: the
    weights depend on the batch alone and are known before the first backward pass, so that any number of
    microbatches gives the gradient of the one large batch.

    Args:
        state: TrainState; donated.
        rows: dict of arrays [batch_size, ...] as data gives them.
        keys: Keys.
        model, objective, split, optimizer, schedule: what the run was built from.
        microbatches: parts that the rows are cut into.
        privacy: training.private.Settings for gradients that are clipped and noisy; None: plain ones.

    Returns:
        (new state, {metric: f32 scalar}).
    """
    batch = _place_rows(objective.corrupt(jax.random.fold_in(keys.corrupt, state.step), rows))
    dropout_key = jax.random.fold_in(keys.dropout, state.step)
    deterministic = _deterministic(model.config)

    def apply(trainable, part, key):
        params = split.merge(trainable, state.frozen)
        rngs = None if deterministic else {"dropout": key}
        return model.apply({"params": params}, part, deterministic=deterministic, rngs=rngs)

    def loss_and_terms(trainable, part, key, weights):
        terms = objective.loss(apply(trainable, part, key), part)
        weights = weights or {name: term.weight for name, term in terms.items()}
        return _terms_total(terms, weights), terms

    gradient, extra = jax.grad(loss_and_terms, has_aux=True), {}
    if privacy is not None:
        noise_key = jax.random.fold_in(keys.noise, state.step)
        grads, terms, extra = _private(
            loss_and_terms, state.trainable, batch, rows["row_id"] >= 0, dropout_key, noise_key, privacy, microbatches
        )
    elif microbatches == 1:
        grads, terms = gradient(state.trainable, batch, dropout_key, None)
    else:
        parts = jax.tree.map(functools.partial(_cut, parts=microbatches), batch)
        weights = _weights(objective, apply, state.trainable, batch, dropout_key)

        def accumulate(carry, part_and_index):
            part, index = part_and_index
            new = gradient(state.trainable, _place_rows(part), jax.random.fold_in(dropout_key, index), weights)
            return jax.tree.map(jnp.add, carry, new), None

        shapes = jax.eval_shape(
            gradient, state.trainable, jax.tree.map(lambda leaf: leaf[0], parts), dropout_key, weights
        )
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (grads, terms), _ = jax.lax.scan(accumulate, zeros, (parts, jnp.arange(microbatches)))
        # A coefficient is a constant, not a sum.
        terms = {name: t._replace(coefficient=t.coefficient / microbatches) for name, t in terms.items()}

    updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
    trainable = optax.apply_updates(state.trainable, updates)
    metrics = {
        "loss": _terms_total(terms, {name: term.weight for name, term in terms.items()}),
        **{name: term.sum / jnp.where(term.weight > 0, term.weight, 1.0) for name, term in terms.items()},
        "grad_norm": optax.global_norm(grads),
        "param_norm": optax.global_norm(trainable),
        "learning_rate": schedule(state.step),
        "tokens": _count_tokens(batch),
        **extra,
    }
    return state.replace(step=state.step + 1, trainable=trainable, opt_state=opt_state), metrics


def _private(loss_and_terms, trainable, batch, present, dropout_key, noise_key, privacy, microbatches):
    """(noisy gradient, terms summed over rows, metrics): each row is a batch of its own, see training.private."""
    rows = present.shape[0]
    coefficients = {}

    def loss_of_one(trainable, row_and_key):
        row, key = row_and_key
        loss, terms = loss_and_terms(trainable, row, key[0], None)
        coefficients.update({name: term.coefficient for name, term in terms.items()})
        return loss, {name: (term.sum, term.weight) for name, term in terms.items()}

    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(dropout_key, jnp.arange(rows))
    gradient, sums, metrics = private_gradient(
        loss_of_one, trainable, (batch, keys), present, noise_key, clip_norm=privacy.clip_norm,
        noise_multiplier=privacy.noise_multiplier, expected_size=privacy.expected_size, microbatches=microbatches,
    )  # fmt: skip
    return gradient, {n: Term(*found, coefficients[n]) for n, found in sums.items()}, metrics


def _cut(leaf, parts):
    """[B, ...] -> [parts, B / parts, ...], taking every parts-th row so that rows stay on their devices."""
    return jnp.moveaxis(leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]), 1, 0)


def _weights(objective, apply, trainable, batch, key):
    """The weights of all terms over the whole batch, found without running the model."""
    outputs = jax.eval_shape(apply, trainable, batch, key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), outputs)
    return {name: term.weight for name, term in objective.loss(zeros, batch).items()}


def eval_step(state, rows, key, *, model, objective, split, kind=None):
    """What a validation batch, corrupted with `key` and without dropout, is worth.

    Args:
        state, rows, model, objective, split: as of `train_step`.
        key: threefry key.
        kind: of the labelled examples that the rows are, if the head's scores are wanted; see tasks.predict.

    Returns:
        ({term: (sum, weight, coefficient)}, (scores [B, ...], `row_id` [B]), or None without a kind).
    """
    batch = _place_rows(objective.corrupt(key, rows))
    outputs = model.apply({"params": split.merge(state.trainable, state.frozen)}, batch, deterministic=True)
    scores = None if kind is None else (head_scores(outputs, kind), rows["row_id"])
    return objective.loss(outputs, batch), scores
