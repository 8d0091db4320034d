"""Optimizers from optax, made to treat stacked layers as the separate layers that they are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from errors import ConfigError
from models import names

OPTIMIZERS = ("adamw", "adam_no_bias_correction", "adafactor", "adagrad", "lamb", "lion", "muon")


def make_optimizer(settings, schedule, shapes, decay):
    """The gradient transformation of a run.

    Args:
        settings: config.optimizer.
        schedule: step -> learning rate.
        shapes: {name: shape} of the trainable parameters.
        decay: {name: bool, or bool per layer} of the trainable parameters: which of them decay.

    Returns:
        An optax transformation over the nested tree of trainable parameters.
    """
    s = settings
    if s.name not in OPTIMIZERS:
        raise ConfigError(f"optimizer.name={s.name!r} is not one of {', '.join(OPTIMIZERS)}")
    parts = [optax.clip_by_global_norm(s.clip_norm)] if s.clip_norm else []
    if s.name in ("adamw", "lamb"):
        parts.append(optax.scale_by_adam(s.beta1, s.beta2, s.epsilon))
    elif s.name == "adam_no_bias_correction":
        parts.append(scale_by_adam_without_bias_correction(s.beta1, s.beta2, s.epsilon))
    elif s.name == "adafactor":
        parts.append(per_layer(optax.adafactor(learning_rate=None, eps=1e-30)))
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
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts)


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
