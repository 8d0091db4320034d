"""LAMB (You et al. 2020): Adam's step, scaled to the norm of its parameter."""

import numpy as np
import optax

from cloze.training.optimizers.base import OPTIMIZERS, Moments, per_layer


@OPTIMIZERS.register("lamb")
class Lamb(Moments):
    def direction(self, shapes, decay):
        scaled = {name for name, value in decay.items() if np.all(value)}  # in the reference, these alone
        adam = optax.scale_by_adam(self.beta1, self.beta2, self.epsilon)
        return optax.chain(adam, *self.decayed(decay), per_layer(optax.scale_by_trust_ratio(), scaled))
