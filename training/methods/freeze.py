"""All trains but the bottom layers and what lies below them."""

import dataclasses

from cloze.errors import ConfigError
from cloze.options import option
from cloze.training.methods.base import METHODS, Method, Stage, stacks


@METHODS.register("freeze")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze(Method):
    layers: int = option(1, "bottom layers of each stack that do not train", least=1, most=10_000)

    rate = 3e-5
    tiny_rate = 5e-4
    trains_tokens = False

    def model_config(self, config):
        self.check_layers(config)
        return config

    def stages(self, config, shapes, steps):
        depth = max(stacks(shapes).values(), default=0)
        if self.layers > depth:
            raise ConfigError(f"finetune.layers={self.layers}: the model has {depth} layers")
        return (Stage(self.top_rules(shapes, self.train_of)),)

    def train_of(self, layers: int) -> int:
        """How many layers train of a stack of so many, from the top."""
        return layers - self.layers
