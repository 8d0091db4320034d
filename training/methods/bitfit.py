"""Biases train, and new heads (Ben-Zaken et al. 2022, arXiv:2106.10199)."""

import dataclasses

from cloze.errors import ConfigError
from cloze.models.heads import head_modules
from cloze.training.methods.base import BIASES, METHODS, SmallParts


@METHODS.register("bitfit")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BitFit(SmallParts):
    rate = 1e-3  # table 2
    tiny_rate = 3e-3
    patterns = (BIASES,)

    def stages(self, config, shapes, steps):
        if not any(name.endswith("/bias") and name.split("/")[0] not in head_modules() for name in shapes):
            raise ConfigError(
                "finetune.method=bitfit: this model has no biases below its head; choose another method, or "
                "linear_probe for the head alone"
            )
        return super().stages(config, shapes, steps)

    @classmethod
    def suit(cls, config, tiny):
        super().suit(config, tiny)
        config.optimizer.weight_decay = 0.0
