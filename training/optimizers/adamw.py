"""AdamW (Loshchilov and Hutter 2019)."""

import optax

from cloze.training.optimizers.base import OPTIMIZERS, Moments


@OPTIMIZERS.register("adamw")
class AdamW(Moments):
    def direction(self, shapes, decay):
        return optax.chain(optax.scale_by_adam(self.beta1, self.beta2, self.epsilon), *self.decayed(decay))
