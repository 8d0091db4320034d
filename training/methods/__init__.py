"""Methods of finetuning, one a file; and what a run asks of the one that its configuration names."""

import dataclasses
from typing import Any

import numpy as np

from cloze import models, options
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.models.heads import head_pattern, label_pattern
from cloze.training.methods.base import BIASES, EVERYTHING, FINAL_NORM, METHODS, Method, Stage, depths

__all__ = [
    "EVERYTHING", "METHODS", "Method", "Stage", "added", "check", "depths", "make_model", "model_config", "multipliers",
    "of", "optional_patterns", "saves_all", "stages", "with_parts",
]  # fmt: skip


def of(config: Any) -> Method:
    """The method of a configuration."""
    cls = METHODS[config.finetune.method]
    return cls(**options.read(cls, config.finetune))


def check(config):
    """Refuses a configuration that its method contradicts.

    Raises:
        ConfigError: what is wrong and how to mend it.
    """
    of(config).check(config)


def model_config(config):
    """The ModelConfig of a run: config.model, with the small new parts that the method adds."""
    return of(config).model_config(models.resolve(config.model))


def make_model(config, objective, made, **frozen_layers):
    """The module of a run, with the parts that its method has beside it.

    Args:
        config: the configuration.
        objective: its objective.
        made: what `model_config` gives, with `heads_out` set.
        **frozen_layers: see `models.build`.
    """
    return with_parts(config, objective.model(made, **frozen_layers), made)


def with_parts(config, model, made):
    """A module with the parts that its method has beside it, if it has any; see `make_model`."""
    parts = of(config).parts(made)
    return Adapted(model, parts) if parts else model


def added(config):
    """{field of ModelConfig: value} of what the method of a run changes in its model."""
    plain, made = models.resolve(config.model), model_config(config)
    fields = (field.name for field in dataclasses.fields(made))
    return {name: getattr(made, name) for name in fields if getattr(made, name) != getattr(plain, name)}


def saves_all(config):
    """Whether checkpoints hold all parameters, or those alone that train."""
    return of(config).saves_all


def stages(config, shapes, steps=lambda option: 1):
    """The Stages of a run, in order.

    Args:
        config: the configuration.
        shapes: {name: shape} of all parameters.
        steps: option -> its duration in steps.

    Raises:
        ConfigError: more layers are asked for than there are, or a stage without a step.
    """
    # What is fitted to examples does not train.
    has_fitted = any(name.startswith("feature_transform/") for name in shapes)
    fitted = ((r"feature_transform/.*", False),) if has_fitted else ()
    found = of(config).stages(config, shapes, steps)
    return tuple(dataclasses.replace(stage, rules=(*fitted, *stage.rules)) for stage in found)


def optional_patterns(config):
    """Patterns of the stages' rules that may match nothing."""
    return head_pattern(), label_pattern(), FINAL_NORM, BIASES, *of(config).patterns


def multipliers(optimizer, shapes):
    """{name: factor, or one for each layer} on the learning rate of all parameters.

    With layer_decay d, a parameter of depth k > 0 has the factor d ** (k + 1), a head 1: the reference of ELECTRA
    (Clark et al. 2020, appendix B) counts so.
    """
    factors = names.match(optimizer.multipliers, shapes, "optimizer.multipliers", optional=(label_pattern(last=True),))
    below = depths(shapes)
    exponents = {name: np.where(np.asarray(below[name]) > 0, np.asarray(below[name]) + 1, 0) for name in shapes}
    return {name: np.asarray(factors[name], np.float32) * optimizer.layer_decay ** exponents[name] for name in shapes}
