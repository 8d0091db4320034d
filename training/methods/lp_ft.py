"""The head trains first, then everything (Kumar et al. 2022, arXiv:2202.10054)."""

import dataclasses

from cloze import options
from cloze.errors import ConfigError
from cloze.options import option
from cloze.training.methods.base import EVERYTHING, METHODS, Method, Stage


@METHODS.register("lp_ft")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeThenAll(Method):
    probe_steps: options.Duration = option(
        "3 epochs", "the head alone trains so long, then train.steps count for everything", least=1
    )
    probe_learning_rate: float = option(1e-3, "constant rate of that", above=0)

    rate = 2e-5
    tiny_rate = 3e-4

    def model_config(self, config):
        return dataclasses.replace(config, pooler_activation="none")  # the head is linear in the body's states

    def stages(self, config, shapes, steps):
        self.check_head(shapes)
        start = steps("finetune.probe_steps")
        if start < 1:
            raise ConfigError(f"finetune.probe_steps comes to {start} steps; it must be at least 1")
        probe = Stage(self.head_rules(), learning_rate=self.probe_learning_rate)
        return probe, Stage(EVERYTHING, start=start, fresh=True)

    @classmethod
    def suit(cls, config, tiny):
        super().suit(config, tiny)
        config.finetune.probe_learning_rate = 1e-2 if tiny else 1e-3
        config.finetune.probe_steps = "1 epochs"
