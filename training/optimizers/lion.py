"""Lion (Chen et al. 2023): the sign of a mixture of momentum and gradient."""

import dataclasses

import optax

from cloze.options import option
from cloze.training.optimizers.base import OPTIMIZERS, Optimizer


@OPTIMIZERS.register("lion")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    beta1: float = option(0.9, "share of the momentum in that mixture", least=0, below=1)
    beta2: float = option(0.999, "decay of the momentum", least=0, below=1)

    def direction(self, shapes, decay):
        return optax.chain(optax.scale_by_lion(self.beta1, self.beta2), *self.decayed(decay))
