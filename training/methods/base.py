"""What a method of finetuning is: what of a model trains, from when on, and with what new parts.

What trains are rules over names of parameters. A depth is counted from above: 0 for heads, 1 for the top layer of each
stack (with the norm on top of it), and one more than the deepest stack has for what lies below all layers.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.adapted import Part
from cloze.models.config import ModelConfig
from cloze.models.heads import head_modules, head_pattern, label_pattern
from cloze.options import Pattern, option
from cloze.registry import Registry

METHODS = Registry("finetune.method", "cloze.training.methods")
EVERYTHING = ((r".*", True),)  # the rules by which all parameters train
BIASES = r".*/bias"
FINAL_NORM = r".*/final_norm/.*"

Shapes = Mapping[str, tuple[int, ...]]  # {name: shape} of all parameters
Rules = tuple[tuple[str, bool], ...]  # ordered (pattern, trains or not) over names of parameters


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run in which the same parameters train.

    Attributes:
        rules: ordered (pattern, trains or not) over the names of all parameters.
        start: step at which it begins; None: when the validation loss stops improving in the stage before.
        learning_rate: constant rate of a first stage that a fresh one follows; None: the schedule's, which counts from
            the start of the last fresh stage.
        fresh: the optimizer begins anew; else what has trained before keeps its state.
    """

    rules: Rules
    start: int | None = 0
    learning_rate: float | None = None
    fresh: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method of finetuning. A subclass is a file of this folder, registered by its name; its fields are its options.

    Attributes:
        rate: learning rate for models of published sizes.
        tiny_rate: for small ones, as `tiny` experiments pretrain.
        trains_tokens: whether the vectors of tokens learn.
        small: what trains is saved without the rest.
        patterns: over the names of new parts, and of what trains with them.
    """

    also: tuple[Pattern, ...] = option((), "patterns over names of parameters that train besides")
    save: str = option(
        "auto",
        "what checkpoints hold; trainable: that, and the name of the base; auto: so for small new parts",
        choices=("auto", "all", "trainable"),
    )
    # Differentially private training (training/private.py), of whatever trains.
    dp_clip_norm: float = option(
        0.0,
        "the gradient of each example is scaled to this norm at most; 0: training is not private",
        least=0,
        below=math.inf,
    )
    dp_noise_multiplier: float = option(
        1.0,
        "deviation of the noise on their sum, in units of dp_clip_norm; 0 clips without noise and guarantees nothing",
        least=0,
        below=math.inf,
    )
    dp_delta: float = option(
        1e-5,
        "chance at which the guarantee may fail, well below 1 / training examples; the log gives epsilon for it",
        above=0,
        below=1,
    )

    rate: ClassVar[float]
    tiny_rate: ClassVar[float]
    trains_tokens: ClassVar[bool] = True
    small: ClassVar[bool] = False
    patterns: ClassVar[tuple[str, ...]] = ()

    # Options of some methods, as they are of all others.
    cache_features = True
    solver = "steps"
    feature_norm = "none"
    feature_size = 0
    patience = 1
    least_improvement = 0.0

    def check(self, config: Any) -> None:
        """Refuses a configuration that contradicts the method; ranges of its own options are checked with all others.

        Raises:
            ConfigError: what is wrong and how to mend it.
        """
        if tuple(config.trainable) != EVERYTHING:
            raise ConfigError(
                f"finetune.method={self.name} decides itself what trains: leave `trainable` alone, or set "
                "finetune.method=full; finetune.also names more that trains"
            )
        if config.task.markers and not self.trains_tokens and not any(p.startswith("token") for p in self.also):
            raise ConfigError(
                f"task.markers adds tokens, whose vectors finetune.method={self.name} does not train: set "
                "finetune.also=('token/.*',), or task.markers=False"
            )

    def model_config(self, config: ModelConfig) -> ModelConfig:
        """The ModelConfig with the new parts that are inside the model.

        Raises:
            ConfigError: the model cannot be finetuned so.
        """
        return config

    def parts(self, config: ModelConfig) -> tuple[Part, ...]:
        """What computes some of the parameters of a model with this ModelConfig, see models.adapted."""
        return ()

    def stages(self, config: Any, shapes: Shapes, steps: Callable[[str], int]) -> tuple[Stage, ...]:
        """The Stages of a run, in order.

        Args:
            config: the configuration.
            shapes: {name: shape} of all parameters.
            steps: option -> its duration in steps.

        Raises:
            ConfigError: the model has not what the method trains, or a stage has no step.
        """
        raise NotImplementedError

    def begin(self, params: Any, frequent: Callable[[int], np.ndarray]) -> Any:
        """The tree of parameters with which a run begins.

        Args:
            params: tree of concrete arrays as initialised, with what comes from elsewhere in it.
            frequent: n -> the n most frequent tokens of the training texts.
        """
        return params

    @classmethod
    def suit(cls, config: Any, tiny: bool) -> None:
        """Sets in a configuration of finetuning what goes with the method: its learning rate, and what else differs."""
        config.optimizer.learning_rate = cls.tiny_rate if tiny else cls.rate

    @property
    def name(self) -> str:
        """What it is registered as."""
        return next(name for name, cls in METHODS.items() if cls is type(self))

    @property
    def saves_all(self) -> bool:
        """Whether checkpoints hold all parameters, or those alone that train."""
        return self.save == "all" or (self.save == "auto" and not self.small)

    @property
    def also_rules(self) -> Rules:
        """Rules that train what `also` names."""
        return tuple((pattern, True) for pattern in self.also)

    def head_rules(self) -> Rules:
        """Rules that train the heads alone."""
        return (*self.also_rules, (head_pattern(), True), (r".*", False))

    def top_rules(self, shapes: Shapes, count: Callable[[int], int]) -> Rules:
        """Rules that train the heads, the top layers of each stack, and the norm on top of them.

        Args:
            shapes: {name: shape} of all parameters.
            count: layers of a stack -> how many of them train.
        """
        rules = [*self.also_rules, (head_pattern(), True)]
        for stack, layers in stacks(shapes).items():
            top = min(count(layers), layers)
            if top > 0:
                numbers = "|".join(map(str, range(layers - top, layers)))
                rules.append((f"{stack}/layers/({numbers})/.*", True))
        return (*rules, (FINAL_NORM, True), (r".*", False))

    def check_head(self, shapes: Shapes) -> None:
        """Refuses a model without a head, where the head alone shall train."""
        if not has_head(shapes) and not self.also:
            raise ConfigError(
                f"finetune.method={self.name} trains the head alone, and this model's head is its token table: choose "
                "another method, or name what trains in finetune.also"
            )

    def check_layers(self, config: ModelConfig) -> None:
        """Refuses a model whose layers share their parameters, where some layers shall train."""
        if config.shared_layers:
            raise ConfigError(
                f"finetune.method={self.name} tells layers apart, but those of model.family={config.family} share "
                "their parameters: choose another method"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallParts(Method):
    """A method that trains small new parts, and new heads: a body stays as it is."""

    small = True
    trains_tokens = False

    def frozen(self, shapes: Shapes) -> Rules:
        """Rules for what stays although `patterns` names it."""
        return ()

    def stages(self, config, shapes, steps):
        rules = [(pattern, True) for pattern in (label_pattern(), *self.patterns)]
        return (Stage((*self.also_rules, *self.frozen(shapes), *rules, (r".*", False))),)


def stacks(shapes: Shapes) -> dict[str, int]:
    """{path of a stack: its layers}, the base model's own."""
    found = {name.split("/layers/")[0]: shape[0] for name, shape in shapes.items() if names.is_stacked(name)}
    return {stack: layers for stack, layers in found.items() if not stack.startswith(("lora/", "prefix/"))}


def has_head(shapes: Shapes) -> bool:
    """Whether there is a head of its own parameters, and not the token table alone."""
    return any(name.split("/")[0] in head_modules() for name in shapes)


def depths(shapes: Shapes) -> dict[str, Any]:
    """{name: depth, or one for each layer} of all parameters; see the module."""
    deepest = max(stacks(shapes).values(), default=0)
    found = {}
    for name, shape in shapes.items():
        adapts = name.removeprefix("lora/")
        if names.is_stacked(name):
            found[name] = shape[0] - np.arange(shape[0])
        elif adapts.split("/")[0] in head_modules():
            found[name] = 0
        else:
            found[name] = 1 if adapts.endswith(("final_norm/scale", "final_norm/bias")) else deepest + 1
    return found
