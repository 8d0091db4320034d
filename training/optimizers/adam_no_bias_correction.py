"""Adam as BERT's reference runs it: the moments start at zero and are not corrected for it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from cloze.training.optimizers.base import OPTIMIZERS, Moments


@OPTIMIZERS.register("adam_no_bias_correction")
class AdamNoBiasCorrection(Moments):
    def direction(self, shapes, decay):
        adam = scale_by_adam_without_bias_correction(self.beta1, self.beta2, self.epsilon)
        return optax.chain(adam, *self.decayed(decay))


class FirstAndSecondMoment(NamedTuple):
    """Running means of gradients and of their squares."""

    mu: optax.Updates
    nu: optax.Updates


def scale_by_adam_without_bias_correction(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """As optax.scale_by_adam, with the moments as they are."""

    def init(params):
        return FirstAndSecondMoment(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, beta1, 1)
        nu = optax.tree.update_moment(updates, state.nu, beta2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mu, nu)
        return updates, FirstAndSecondMoment(mu, nu)

    return optax.GradientTransformation(init, update)
