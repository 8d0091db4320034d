"""The head and the top layers train."""

import dataclasses

from cloze.options import option
from cloze.training.methods.base import METHODS
from cloze.training.methods.freeze import Freeze


@METHODS.register("last_layers")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LastLayers(Freeze):
    layers: int = option(1, "top layers of each stack that train", least=1, most=10_000)

    rate = 5e-5
    tiny_rate = 1e-3

    def train_of(self, layers):
        return self.layers
