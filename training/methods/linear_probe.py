"""The head alone trains, linear in the states of a frozen body, which runs once over each example."""

import dataclasses
import math

from cloze.errors import ConfigError
from cloze.models.heads import TRANSFORMERS
from cloze.options import option
from cloze.training.methods.base import METHODS, Method, Stage


@METHODS.register("linear_probe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe(Method):
    cache_features: bool = option(True, "the body's states are computed once and kept")
    solver: str = option(
        "steps",
        "how the head learns on kept states: by the optimizer's steps; by L-BFGS, to the optimum (a regression's is "
        "known in closed form); auto: by L-BFGS where that can be, which the log says",
        choices=("auto", "lbfgs", "steps"),
    )
    penalties: tuple[float, ...] = option(
        (1.0, 0.1, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00001),
        "what L-BFGS adds to the mean loss is half of this times the squared weights of features of deviation 1; of "
        "several the one whose validation loss is lowest",
        above=0,
        below=math.inf,
    )
    feature_layer: int = option(
        0,
        "layer of the last stack whose states are read, from 1: the layers above are left out, the norm on top stays; "
        "0: the last",
        least=0,
    )
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
        if not self.penalties:
            raise ConfigError("finetune.penalties=() leaves nothing to choose from: name one at least, such as (0.01,)")
        if (self.feature_norm != "none" or self.feature_size) and config.task.kind in ("tag", "span"):
            raise ConfigError(
                f"finetune.feature_norm={self.feature_norm} and feature_size={self.feature_size} are for classifiers of"
                f" whole texts, not for task.kind={config.task.kind}: set them to none and 0"
            )

    def model_config(self, config):
        read = dict(feature_norm=self.feature_norm, feature_size=self.feature_size)
        return dataclasses.replace(config, pooler_activation="none", **read, **self._layers(config))

    def _layers(self, config):
        """{field of ModelConfig: layers of the last stack} where not all are read."""
        if not self.feature_layer:
            return {}
        field = "decoder_layers" if config.architecture == "encoder_decoder" else "layers"
        there = getattr(config, field)
        if config.architecture not in TRANSFORMERS or config.shared_stacks:
            raise ConfigError(
                f"finetune.feature_layer={self.feature_layer} needs a transformer with a last stack of its own, not "
                f"model.family={config.family}: set it to 0"
            )
        if self.feature_layer > there:
            raise ConfigError(
                f"finetune.feature_layer={self.feature_layer} exceeds model.{field}={there}: lower it, or set it to 0 "
                "for the last"
            )
        return {field: self.feature_layer}

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
        config.finetune.solver = "auto"
