"""AdaGrad (Duchi et al. 2011)."""

import dataclasses

import optax

from cloze.options import option
from cloze.training.optimizers.base import OPTIMIZERS, Optimizer


@OPTIMIZERS.register("adagrad")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    epsilon: float = option(1e-6, "added to the sum of squares under the root", above=0)

    def direction(self, shapes, decay):
        squares = optax.scale_by_rss(initial_accumulator_value=0.0, eps=self.epsilon)
        return optax.chain(squares, *self.decayed(decay))
