"""Optimizers from optax, made to treat stacked layers as the separate layers that they are."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cloze.errors import ConfigError
from cloze.models import names

OPTIMIZERS = ("adamw", "adam_no_bias_correction", "adafactor", "adagrad", "lamb", "lion", "muon")


def make_optimizer(settings, schedule, shapes, decay, multipliers=None, groups=None):
    """The gradient transformation of a run.

    Args:
        settings: config.optimizer.
        schedule: step -> learning rate.
        shapes: {name: shape} of the trainable parameters.
        decay: {name: bool, or bool per layer} of the trainable parameters: which of them decay.
        multipliers: {name: factor, or factor per layer} of them on the learning rate; None: all are 1.
        groups: {name: number, or number per layer} of them: what began to train together, and has an optimizer's
            state (and count of steps) of its own, see `carry`; None: all began together.

    Returns:
        An optax transformation over the nested tree of trainable parameters. The last part of its state counts the
        run's steps, the one before is the direction's.
    """
    s = settings
    if s.name not in OPTIMIZERS:
        raise ConfigError(f"optimizer.name={s.name!r} is not one of {', '.join(OPTIMIZERS)}")
    parts = [optax.clip_by_global_norm(s.clip_norm)] if s.clip_norm else []
    direction = functools.partial(_direction, s)
    parts.append(direction(shapes, decay) if groups is None else grouped(direction, shapes, decay, groups))
    if multipliers is not None:
        parts.append(scale_each(multipliers))
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts)


def _direction(s, shapes, decay):
    """The step that an optimizer makes for a learning rate of 1, upwards."""
    parts = []
    if s.name in ("adamw", "lamb"):
        parts.append(optax.scale_by_adam(s.beta1, s.beta2, s.epsilon))
    elif s.name == "adam_no_bias_correction":
        parts.append(scale_by_adam_without_bias_correction(s.beta1, s.beta2, s.epsilon))
    elif s.name == "adafactor":
        scaled = dict(multiply_by_parameter_scale=s.scale_by_parameter)
        parts.append(per_layer(optax.adafactor(learning_rate=None, eps=1e-30, **scaled)))
        parts.append(optax.scale(-1.0))  # optax's alias already points downhill
    elif s.name == "adagrad":
        parts.append(optax.scale_by_rss(initial_accumulator_value=0.0, eps=s.epsilon))  # Duchi et al. 2011
    elif s.name == "lion":
        parts.append(optax.scale_by_lion(s.beta1, s.beta2))
    else:
        parts.append(_muon(s, shapes))
    if s.weight_decay:
        parts.append(add_decay(s.weight_decay, decay))
    if s.name == "lamb":  # what does not decay is not scaled either, as in the reference (You et al. 2020)
        scaled = {name for name, value in decay.items() if np.all(value)}
        parts.append(per_layer(optax.scale_by_trust_ratio(), scaled))
    return optax.chain(*parts)


def grouped(direction, shapes, decay, groups):
    """Runs a transformation on each group of parameters, or of layers of them, by itself.

    Args:
        direction: (shapes, decay) -> optax transformation.
        shapes, decay, groups: see `make_optimizer`.
    """
    places = {name: np.atleast_1d(value) for name, value in groups.items()}
    numbers = sorted({int(n) for value in places.values() for n in value})

    def part(flat, number):
        """What of {name: array or value} is of a group."""
        found = {}
        for name, leaf in flat.items():
            mine = places[name] == number
            if mine.any():
                found[name] = leaf if mine.all() else leaf[np.flatnonzero(mine)]
        return found

    def own(number):
        sizes = {}
        for name, shape in shapes.items():
            count = int(np.sum(places[name] == number))
            if count:
                sizes[name] = (count, *shape[1:]) if names.is_stacked(name) else shape
        return direction(sizes, part(decay, number))

    transformations = {str(number): own(number) for number in numbers}

    def init(params):
        flat = names.flatten(params)
        return {n: tx.init(names.unflatten(part(flat, int(n)))) for n, tx in transformations.items()}

    def update(updates, state, params):
        gradients, values = names.flatten(updates), names.flatten(params)
        new_state, pieces = {}, {name: [] for name in gradients}
        for n, tx in transformations.items():
            halves = (names.unflatten(part(flat, int(n))) for flat in (gradients, values))
            moved, new_state[n] = tx.update(next(halves), state[n], next(halves))
            for name, leaf in names.flatten(moved).items():
                pieces[name].append(leaf)
        whole = {}
        for name, found in pieces.items():
            # Pieces come in order of their groups, the layers in each in their own order.
            order = np.argsort(np.argsort(places[name], kind="stable"), kind="stable")
            whole[name] = found[0] if len(found) == 1 else jnp.concatenate(found)[order]
        return names.unflatten(whole), new_state

    return optax.GradientTransformation(init, update)


def carry(new, old, fresh=False):
    """The state of an optimizer whose parameters have become more.

    Args:
        new: its state when everything begins.
        old: the state so far.
        fresh: only the count of the run's steps is kept.

    Returns:
        What has trained before keeps its state, what has not begins.
    """

    def keep(new, old):
        if isinstance(new, dict):
            return {key: keep(new[key], old[key]) if key in old else new[key] for key in new}
        return old

    if fresh:
        return (*new[:-1], old[-1])
    return tuple(keep(a, b) for a, b in zip(new, old, strict=True))


def scale_each(factors):
    """Multiplies the updates of each parameter, or of each of its layers, by a factor."""

    def update(updates, state, params=None):
        del params
        flat = {}
        for name, leaf in names.flatten(updates).items():
            factor = np.asarray(factors[name], np.float32)
            flat[name] = leaf * (factor.reshape(-1, *[1] * (leaf.ndim - 1)) if factor.ndim else factor)
        return names.unflatten(flat), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class FirstAndSecondMoment(NamedTuple):
    """Running means of gradients and of their squares."""

    mu: optax.Updates
    nu: optax.Updates


def scale_by_adam_without_bias_correction(beta1, beta2, epsilon):
    """Adam as BERT's reference runs it: the moments start at zero and are not corrected for it."""

    def init(params):
        return FirstAndSecondMoment(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, beta1, 1)
        nu = optax.tree.update_moment(updates, state.nu, beta2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mu, nu)
        return updates, FirstAndSecondMoment(mu, nu)

    return optax.GradientTransformation(init, update)


def add_decay(weight_decay, decay):
    """Adds weight_decay * parameter to the updates of the parameters, or layers, that decay."""
    factors = {name: weight_decay * np.asarray(value, np.float32) for name, value in decay.items()}

    def update(updates, state, params):
        flat, values = names.flatten(updates), names.flatten(params)
        decayed = {}
        for name, leaf in flat.items():
            factor = factors[name].reshape(-1, *[1] * (leaf.ndim - 1)) if factors[name].ndim else factors[name]
            decayed[name] = leaf + factor * values[name] if factor.any() else leaf
        return names.unflatten(decayed), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def per_layer(transformation, only=None):
    """Runs a transformation on each parameter by itself, and on each layer of a stacked parameter by itself.

    For optimizers that take statistics over a whole parameter (Adafactor's scale and clipping, LAMB's norms): a
    stack of layers is not one parameter.

    Args:
        transformation: an optax.GradientTransformation.
        only: names of the parameters that it is for, the others pass; None: all.
    """

    def wrap(name):
        if only is not None and name not in only:
            return optax.identity()
        if names.is_stacked(name):
            return jax.vmap(transformation.init), jax.vmap(transformation.update)
        return transformation

    def init(params):
        return {name: wrap(name)[0](leaf) for name, leaf in names.flatten(params).items()}

    def update(updates, state, params):
        flat, new_state = {}, {}
        values = names.flatten(params)
        for name, leaf in names.flatten(updates).items():
            flat[name], new_state[name] = wrap(name)[1](leaf, state[name], values[name])
        return names.unflatten(flat), new_state

    return optax.GradientTransformation(init, update)


def _muon(s, shapes):
    """Muon on the matrices of the layers, each layer a matrix; Adam on everything else.

    The update of a matrix has the root mean square 0.2 of a typical Adam update (Liu et al. 2025,
    arXiv:2502.16982), so that one learning rate and one weight decay serve both.
    """
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    muon = optax.contrib.muon(
        -1.0,  # the direction alone; the learning rate comes behind, for both kinds
        beta=s.muon_momentum,
        eps=s.epsilon,
        weight_decay=0.0,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(lambda leaf: matrix, params),
    )
    kinds = {name: "muon" if names.is_stacked(name) and name.endswith("/kernel") else "adam" for name in shapes}
    adam = optax.scale_by_adam(s.beta1, s.beta2, s.epsilon)
    return optax.partition({"muon": muon, "adam": adam}, names.unflatten(kinds))
