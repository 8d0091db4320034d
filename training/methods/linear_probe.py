"""The head alone trains, linear in the states of a frozen body, which runs once over each example."""

import dataclasses

from cloze.errors import ConfigError
from cloze.options import option
from cloze.training.methods.base import METHODS, Method, Stage


@METHODS.register("linear_probe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe(Method):
    cache_features: bool = option(True, "the body's states are computed once and kept")
    feature_norm: str = option(
        "none",
        "of these states: standard is mean 0 and deviation 1 over the training examples, unit is length 1",
        choices=("none", "standard", "unit"),
    )
    feature_size: int = option(0, "principal components of them that are kept; 0: all", least=0)

    rate = 1e-3
    tiny_rate = 1e-2
    trains_tokens = False

    def check(self, config):
        super().check(config)
        if (self.feature_norm != "none" or self.feature_size) and config.task.kind in ("tag", "span"):
            raise ConfigError(
                f"finetune.feature_norm={self.feature_norm} and feature_size={self.feature_size} are for classifiers of"
                f" whole texts, not for task.kind={config.task.kind}: set them to none and 0"
            )

    def model_config(self, config):
        return dataclasses.replace(
            config, pooler_activation="none", feature_norm=self.feature_norm, feature_size=self.feature_size
        )

    def stages(self, config, shapes, steps):
        self.check_head(shapes)
        return (Stage(self.head_rules()),)

    @property
    def saves_all(self):
        # What is fitted to the training examples does not train, and cannot be made again.
        return super().saves_all or self.feature_norm == "standard" or self.feature_size > 0

    @classmethod
    def suit(cls, config, tiny):
        super().suit(config, tiny)
        config.task.batching = "buckets"  # features are kept of rows that hold an example each
        config.optimizer.weight_decay = 0.0
