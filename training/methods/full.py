"""What `trainable` says trains, by default everything."""

import dataclasses

from cloze.training.methods.base import METHODS, Method, Stage


@METHODS.register("full")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Full(Method):
    rate = 3e-5  # Devlin et al. 2019, appendix A.3
    tiny_rate = 5e-4

    def check(self, config):
        """`trainable` may be anything."""

    def stages(self, config, shapes, steps):
        return (Stage((*self.also_rules, *config.trainable)),)
