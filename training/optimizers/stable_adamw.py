"""StableAdamW: AdamW whose step is smaller where the gradient is larger than its second moment (Wortsman et al. 2023).

Algorithm 2 of arXiv:2304.13013: the rate of a parameter, decay included, is divided by the root of the mean of
gradient ** 2 / second moment where that exceeds 1, as in Adafactor. No clipping of the gradient's norm is needed.
"""

import jax.numpy as jnp
import optax

from cloze.models import names
from cloze.training.optimizers.base import OPTIMIZERS, Moments


@OPTIMIZERS.register("stable_adamw")
class StableAdamW(Moments):
    def direction(self, shapes, decay):
        adamw = optax.chain(optax.scale_by_adam(self.beta1, self.beta2, self.epsilon), *self.decayed(decay))

        def update(gradients, state, params):
            steps, state = adamw.update(gradients, state, params)
            second = names.flatten(optax.tree.bias_correction(state[0].nu, self.beta2, state[0].count))
            gradients, steps = names.flatten(gradients), names.flatten(steps)
            for name, gradient in gradients.items():
                axes = tuple(range(1 if names.is_stacked(name) else 0, gradient.ndim))  # each layer by itself
                ratio = gradient**2 / jnp.maximum(second[name], self.epsilon**2)
                rms = jnp.sqrt(jnp.mean(ratio, axes, keepdims=True))
                steps[name] = steps[name] / jnp.maximum(1.0, rms)
            return names.unflatten(steps), state

        return optax.GradientTransformation(adamw.init, update)
