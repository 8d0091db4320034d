"""The gradient of a step: of the whole batch at once, summed over microbatches, by way of vectors, or private.

Each is a function (state, batch, rows, keys of the step) -> (gradient like state.trainable, {name: Term} of the whole
batch, {metric: f32} besides). The loss is the sum over terms of coefficient * sum / weight, with sums and weights over
the whole batch.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.heads import HEADS
from cloze.models.outputs import Outputs
from cloze.objectives.base import Term
from cloze.training.private import private_gradient


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of a batch as a function of the trainable half of the parameters.

    Attributes:
        model: the module or composite.
        objective: objectives.base.Objective.
        split: training.trainable.Split.
    """

    model: Any
    objective: Any
    split: Any

    def __call__(self, trainable, frozen, batch, key, weights=None):
        """(loss, terms); `weights` {name: weight} are those of the whole batch, where this is a part of it."""
        terms = self.objective.loss(self._outputs(trainable, frozen, batch, key), batch)
        return total(terms, weights), terms

    def weights(self, trainable, frozen, batch, key):
        """{name: weight} of all terms, which depend on the batch alone: the model is not run."""
        outputs = jax.eval_shape(self._outputs, trainable, frozen, batch, key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), outputs)
        return {name: term.weight for name, term in self.objective.loss(zeros, batch).items()}

    def scores(self, trainable, frozen, batch, key):
        """What the head gives that a loss over the whole batch compares, see Objective.compared."""
        return self._outputs(trainable, frozen, batch, key).heads[self.objective.compared]

    def _outputs(self, trainable, frozen, batch, key):
        params, deterministic = self.split.merge(trainable, frozen), is_deterministic(self.model.config)
        rngs = None if deterministic else {"dropout": key}
        return self.model.apply({"params": params}, batch, deterministic=deterministic, rngs=rngs)


def make_gradient(loss, microbatches, privacy=None):
    """The gradient function of a run.

    Args:
        loss: Loss.
        microbatches: parts that the rows are cut into.
        privacy: training.private.Privacy for gradients that are clipped and noisy; None: plain ones.
    """
    if privacy is not None:
        return functools.partial(_private, loss, privacy, microbatches)
    if microbatches == 1:
        return functools.partial(_whole, loss)
    return functools.partial(_cached if loss.objective.compared else _accumulated, loss, microbatches)


def _whole(loss, state, batch, rows, keys):
    del rows
    gradient, terms = jax.grad(loss, has_aux=True)(state.trainable, state.frozen, batch, keys.dropout)
    return gradient, terms, {}


def _accumulated(loss, microbatches, state, batch, rows, keys):
    """The same gradient part by part: the weights of the whole batch are known before the first backward pass."""
    del rows
    parts = jax.tree.map(functools.partial(_cut, parts=microbatches), batch)
    weights = loss.weights(state.trainable, state.frozen, batch, keys.dropout)

    def gradient(part, index):
        key = jax.random.fold_in(keys.dropout, index)
        return jax.grad(loss, has_aux=True)(state.trainable, state.frozen, place_rows(part), key, weights)

    def accumulate(carry, part_and_index):
        return jax.tree.map(jnp.add, carry, gradient(*part_and_index)), None

    shapes = jax.eval_shape(gradient, jax.tree.map(lambda leaf: leaf[0], parts), 0)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (total_gradient, terms), _ = jax.lax.scan(accumulate, zeros, (parts, jnp.arange(microbatches)))
    # A coefficient is a constant, not a sum.
    terms = {name: term._replace(coefficient=term.coefficient / microbatches) for name, term in terms.items()}
    return total_gradient, terms, {}


def _cached(loss, microbatches, state, batch, rows, keys):
    """The gradient of a loss that compares rows of all parts (Gao et al. 2021, GradCache, arXiv:2101.06983, section 3).

    What is compared is computed part by part without a backward pass, then the gradient of the loss to it, with which
    each part is run again, forward and backward.
    """
    del rows
    parts = jax.tree.map(functools.partial(_cut, parts=microbatches), batch)
    numbers = jnp.arange(microbatches)

    def scores(trainable, part, index):
        return loss.scores(trainable, state.frozen, place_rows(part), jax.random.fold_in(keys.dropout, index))

    def compare(scores):
        terms = loss.objective.loss(Outputs(heads={loss.objective.compared: scores}), batch)
        return total(terms), terms

    given = jax.lax.map(lambda pair: scores(state.trainable, *pair), (parts, numbers))
    wanted, terms = jax.grad(compare, has_aux=True)(place_rows(_joined(given)))

    def accumulate(carry, inputs):
        part, index, cotangent = inputs
        _, pull = jax.vjp(lambda trainable: scores(trainable, part, index), state.trainable)
        return jax.tree.map(jnp.add, carry, *pull(cotangent)), None

    zeros = jax.tree.map(jnp.zeros_like, state.trainable)
    gradient, _ = jax.lax.scan(accumulate, zeros, (parts, numbers, _cut(wanted, microbatches)))
    return gradient, terms, {}


def _private(loss, privacy, microbatches, state, batch, rows, keys):
    """A noisy gradient, and terms summed over rows: each row is a batch of its own, see training.private."""
    present = rows["row_id"] >= 0
    coefficients = {}

    def loss_of_one(trainable, row_and_key):
        row, key = row_and_key
        value, terms = loss(trainable, state.frozen, row, key[0])
        coefficients.update({name: term.coefficient for name, term in terms.items()})
        return value, {name: (term.sum, term.weight) for name, term in terms.items()}

    row_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys.dropout, jnp.arange(present.shape[0]))
    gradient, sums, metrics = private_gradient(
        loss_of_one, state.trainable, (batch, row_keys), present, keys.noise, clip_norm=privacy.clip_norm,
        noise_multiplier=privacy.noise_multiplier, expected_size=privacy.expected_size, microbatches=microbatches,
    )  # fmt: skip
    return gradient, {name: Term(*pair, coefficients[name]) for name, pair in sums.items()}, metrics


def total(terms, weights=None):
    """Sum over terms of coefficient * sum / weight; an empty term counts 0."""
    weights = weights or {name: term.weight for name, term in terms.items()}
    return sum(term.coefficient * _mean(term.sum, weights[name]) for name, term in terms.items())


def means(terms):
    """{name: sum / weight} of terms."""
    return {name: _mean(term.sum, term.weight) for name, term in terms.items()}


def _mean(value, weight):
    return value / jnp.where(weight > 0, weight, 1.0)


def place_rows(batch):
    """Cuts every array of the batch by rows."""

    def place(leaf):
        return axes.constrain(leaf, axes.BATCH, *[None] * (leaf.ndim - 1)) if leaf.ndim else leaf

    return jax.tree.map(place, batch)


def _cut(leaf, parts):
    """[B, ...] -> [parts, B / parts, ...], taking every parts-th row so that rows stay on their devices."""
    return jnp.moveaxis(leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]), 1, 0)


def _joined(leaf):
    """The inverse of `_cut`."""
    return jnp.moveaxis(leaf, 0, 1).reshape(-1, *leaf.shape[2:])


def is_deterministic(config):
    """Whether the model draws nothing at random: the dropout of heads counts where there is a head that has it."""
    rates = ["dropout", "attention_dropout", "activation_dropout", "final_dropout"]
    rates += [rate for name in config.heads_out for rate in HEADS[name].rates]
    return not any(getattr(config, rate) for rate in rates)
