"""Adafactor (Shazeer and Stern 2018): decay 1 - step ** -0.8, updates clipped at 1."""

import dataclasses

import optax

from cloze.options import option
from cloze.training.optimizers.base import OPTIMIZERS, Optimizer, per_layer


@OPTIMIZERS.register("adafactor")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
    scale_by_parameter: bool = option(True, "updates are in proportion to the size of their parameter")

    def direction(self, shapes, decay):
        adafactor = optax.adafactor(learning_rate=None, eps=1e-30, multiply_by_parameter_scale=self.scale_by_parameter)
        upwards = optax.scale(-1.0)  # optax's alias points downhill
        return optax.chain(per_layer(adafactor), upwards, *self.decayed(decay))
