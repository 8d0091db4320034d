"""Muon on the matrices of the layers, each layer a matrix; Adam on everything else (Jordan et al. 2024)."""

import dataclasses

import jax
import optax

from cloze.models import names
from cloze.options import option
from cloze.training.optimizers.base import OPTIMIZERS, Moments


@OPTIMIZERS.register("muon")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(Moments):
    """The update of a matrix has the root mean square 0.2 of a typical Adam update (Liu et al. 2025, arXiv:2502.16982).

    So one learning rate and one weight decay serve both.
    """

    muon_momentum: float = option(0.95, "momentum of the matrices", least=0, below=1)

    def direction(self, shapes, decay):
        matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
        muon = optax.contrib.muon(
            -1.0,  # the direction alone; the learning rate comes behind, for both kinds
            beta=self.muon_momentum,
            eps=self.epsilon,
            weight_decay=0.0,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=lambda params: jax.tree.map(lambda leaf: matrix, params),
        )
        kinds = {name: "muon" if names.is_stacked(name) and name.endswith("/kernel") else "adam" for name in shapes}
        adam = optax.scale_by_adam(self.beta1, self.beta2, self.epsilon)
        both = optax.partition({"muon": muon, "adam": adam}, names.unflatten(kinds))
        return optax.chain(both, *self.decayed(decay))
