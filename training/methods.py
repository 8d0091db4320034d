"""Strategies of finetuning: what of a model trains, and from when on, as rules over names of parameters.

A depth is counted from above: 0 for heads, 1 for the top layer of each stack (with the norm on top of it), and one more
than the deepest stack has for what lies below all layers.
"""

import dataclasses

import numpy as np

from cloze import models
from cloze.configs.base import METHODS, get_base
from cloze.errors import ConfigError
from cloze.models import adapted, names
from cloze.models.heads import head_modules, head_pattern, label_pattern
from cloze.options import suggest

SMALL = ("bitfit", "lora", "adapters", "prefix", "prompt", "p_tuning")  # what trains is saved without the rest
NO_TOKENS = ("linear_probe", "freeze", "last_layers", *SMALL)  # methods that leave the token table as it is
BIASES = r".*/bias"


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

    rules: tuple[tuple[str, bool], ...]
    start: int | None = 0
    learning_rate: float | None = None
    fresh: bool = False


def check(config):
    """Refuses an unknown method, and options that contradict each other.

    Raises:
        ConfigError: what is wrong and how to mend it.
    """
    f = config.finetune
    if f.method not in METHODS:
        raise ConfigError(
            f"finetune.method={f.method!r} is unknown{suggest(f.method, METHODS) or '.'} Known: {', '.join(METHODS)}"
        )
    if f.method != "full" and tuple(config.trainable) != tuple(get_base().trainable):
        raise ConfigError(
            f"finetune.method={f.method} decides itself what trains: leave `trainable` alone, or set finetune.method="
            "full; finetune.also names more that trains"
        )
    for option, choices in (
        ("unfreeze", ("epochs", "plateau")), ("save", ("auto", "all", "trainable")),
        ("prompt_init", ("vocabulary", "random")),
    ):  # fmt: skip
        if f[option] not in choices:
            raise ConfigError(f"finetune.{option}={f[option]!r} is not one of {', '.join(choices)}")
    if f.method in ("freeze", "last_layers") and f.layers < 1:
        raise ConfigError(f"finetune.method={f.method} needs the number of layers: set finetune.layers to 1 or more")
    if f.method not in ("freeze", "last_layers") and f.layers:
        raise ConfigError(f"finetune.layers={f.layers} is of freeze and last_layers, not of finetune.method={f.method}")
    if f.patience < 1:
        raise ConfigError(f"finetune.patience={f.patience} must be at least 1")
    _check_durations(config)
    if config.task.markers and f.method in NO_TOKENS and not any(p.startswith("token") for p in f.also):
        raise ConfigError(
            f"task.markers adds tokens, whose vectors finetune.method={f.method} does not train: set finetune.also="
            "('token/.*',), or task.markers=False"
        )
    shaped = f.feature_norm != "none" or f.feature_size
    if shaped and config.task.kind in ("tag", "span"):
        raise ConfigError(
            f"finetune.feature_norm={f.feature_norm} and feature_size={f.feature_size} are for classifiers of whole "
            f"texts, not for task.kind={config.task.kind}: set them to none and 0"
        )
    if shaped and f.method != "linear_probe":
        raise ConfigError(
            f"finetune.feature_norm={f.feature_norm} and feature_size={f.feature_size} are fitted on the states of a "
            f"frozen body: set finetune.method=linear_probe, not {f.method}"
        )


def _check_durations(config):
    """Refuses rates and durations of methods that make no sense."""
    f = config.finetune
    if f.method == "lp_ft" and not f.probe_learning_rate > 0:
        raise ConfigError(f"finetune.probe_learning_rate={f.probe_learning_rate} must be greater than 0")
    if f.method == "lora" and not f.lora_alpha > 0:
        raise ConfigError(f"finetune.lora_alpha={f.lora_alpha} must be greater than 0")
    if f.unfreeze == "plateau" and f.unfreeze_every is not None:
        raise ConfigError(
            f"finetune.unfreeze_every={f.unfreeze_every} is of finetune.unfreeze=epochs; leave it unset on a plateau"
        )


def model_config(config):
    """The ModelConfig of a run: config.model, with the small new parts that the method adds."""
    made = models.resolve(config.model)
    if made.shared_layers and config.finetune.method in ("freeze", "last_layers", "gradual"):
        raise ConfigError(
            f"finetune.method={config.finetune.method} tells layers apart, but those of model.family={made.family} "
            "share their parameters: choose another method"
        )
    if config.finetune.method in ("linear_probe", "lp_ft"):  # the head is linear in the body's states
        made = dataclasses.replace(made, pooler_activation="none")
    if config.finetune.method == "linear_probe":
        made = dataclasses.replace(
            made, feature_norm=config.finetune.feature_norm, feature_size=config.finetune.feature_size
        )
    return adapted.adapt(made, config.finetune)[0]


def make_model(config, objective, made, **frozen_layers):
    """The module of a run, with the trees that some of its parameters are computed from.

    Args:
        config: the configuration.
        objective: its objective.
        made: what `model_config` gives, with `heads_out` set.
        **frozen_layers: see `models.build`.
    """
    return with_parts(config, objective.model(made, **frozen_layers), made)


def with_parts(config, model, made):
    """A module with the trees that some of its parameters are computed from, if it has any; see `make_model`."""
    _, parts = adapted.adapt(made, config.finetune)
    return adapted.Adapted(model, parts) if parts else model


def added(config):
    """{field of ModelConfig: value} of what the method of a run changes in its model."""
    plain, made = models.resolve(config.model), model_config(config)
    fields = (field.name for field in dataclasses.fields(made))
    return {name: getattr(made, name) for name in fields if getattr(made, name) != getattr(plain, name)}


def saves_all(config):
    """Whether checkpoints hold all parameters, or those alone that train."""
    save = config.finetune.save
    if config.finetune.feature_norm == "standard" or config.finetune.feature_size:
        return True  # what is fitted does not train, and cannot be made again
    return save == "all" or (save == "auto" and config.finetune.method not in SMALL)


def stages(config, shapes, steps=lambda option: 1):
    """The Stages of a run, in order.

    Args:
        config: the configuration.
        shapes: {name: shape} of all parameters.
        steps: option -> its duration in steps.

    Raises:
        ConfigError: more layers are asked for than there are, or a stage without a step.
    """
    has_fitted = any(name.startswith("feature_transform/") for name in shapes)
    fitted = ((r"feature_transform/.*", False),) if has_fitted else ()
    return tuple(dataclasses.replace(stage, rules=(*fitted, *stage.rules)) for stage in _stages(config, shapes, steps))


def _stages(config, shapes, steps):
    """`stages`, but for what never trains."""
    f, depth = config.finetune, max(_stacks(shapes).values(), default=0)
    method = f.method
    if method == "full":
        return (Stage((*_also(config), *config.trainable)),)
    _check_parts(config, shapes)
    if method == "linear_probe":
        return (Stage(_top(config, shapes, 0)),)
    if method == "lp_ft":
        probe = Stage(_top(config, shapes, 0), learning_rate=f.probe_learning_rate)
        start = steps("finetune.probe_steps")
        if start < 1:
            raise ConfigError(f"finetune.probe_steps comes to {start} steps; it must be at least 1")
        return probe, Stage(((r".*", True),), start=start, fresh=True)
    if method in ("freeze", "last_layers"):
        if f.layers > depth:
            raise ConfigError(f"finetune.layers={f.layers}: the model has {depth} layers")
        return (Stage(_top(config, shapes, f.layers, counted_from_below=method == "freeze")),)
    if method == "gradual":
        tied = not _has_head(shapes)
        above = ((r"token/.*", True),) if tied else ()  # the head is the token table
        made = [(*above, *_top(config, shapes, top)) for top in range(depth + 1)] + [((r".*", True),)]
        if tied:
            made = made[1:]
        return tuple(Stage(rules, start) for rules, start in zip(made, _starts(config, len(made), steps), strict=True))
    patterns = (BIASES,) if method == "bitfit" else adapted.trainable_patterns(method)
    rules = [(pattern, True) for pattern in (label_pattern(), *patterns)]
    refused = adapted.frozen_rules(f, shapes) if method == "lora" else ()  # layers that LoRA's targets leave out
    return (Stage((*_also(config), *refused, *rules, (r".*", False))),)


def _starts(config, count, steps):
    """The steps at which the stages of gradual unfreezing begin; None for those that wait for a plateau."""
    f = config.finetune
    if f.unfreeze == "plateau":
        return [0] + [None] * (count - 1)
    if f.unfreeze_every is None:  # of a run that is shorter than its schedule, as of the whole
        length = steps("train.steps" if config.optimizer.decay_steps is None else "optimizer.decay_steps")
        return [length * k // (2 * max(count - 1, 1)) for k in range(count)]
    every = steps("finetune.unfreeze_every")
    if every < 1:
        raise ConfigError(f"finetune.unfreeze_every comes to {every} steps; it must be at least 1")
    return [k * every for k in range(count)]


def optional_patterns(config):
    """Patterns of the stages' rules that may match nothing."""
    heads = head_pattern(), label_pattern()
    return *heads, _FINAL_NORM, BIASES, *adapted.trainable_patterns(config.finetune.method)


def depths(shapes):
    """{name: depth, or one for each layer} of all parameters; see the module."""
    stacks = _stacks(shapes)
    deepest = max(stacks.values(), default=0)
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


def multipliers(optimizer, shapes):
    """{name: factor, or one for each layer} on the learning rate of all parameters.

    With layer_decay d, a parameter of depth k > 0 has the factor d ** (k + 1), a head 1: the reference of ELECTRA
    (Clark et al. 2020, appendix B) counts so.
    """
    factors = names.match(optimizer.multipliers, shapes, "optimizer.multipliers", optional=(label_pattern(last=True),))
    below = depths(shapes)
    exponents = {name: np.where(np.asarray(below[name]) > 0, np.asarray(below[name]) + 1, 0) for name in shapes}
    return {name: np.asarray(factors[name], np.float32) * optimizer.layer_decay ** exponents[name] for name in shapes}


_FINAL_NORM = r".*/final_norm/.*"


def _stacks(shapes):
    """{path of a stack: its layers}, the base model's own."""
    found = {name.split("/layers/")[0]: shape[0] for name, shape in shapes.items() if names.is_stacked(name)}
    return {stack: layers for stack, layers in found.items() if not stack.startswith("lora/")}


def _has_head(shapes):
    """Whether there is a head of its own parameters, and not the token table alone."""
    return any(name.split("/")[0] in head_modules() for name in shapes)


def _check_parts(config, shapes):
    """Refuses a model without what the method trains."""
    method = config.finetune.method
    if method in ("linear_probe", "lp_ft") and not _has_head(shapes) and not config.finetune.also:
        raise ConfigError(
            f"finetune.method={method} trains the head alone, and this model's head is its token table: choose another "
            "method, or name what trains in finetune.also"
        )
    if method == "bitfit" and not any(n.endswith("/bias") and n.split("/")[0] not in head_modules() for n in shapes):
        raise ConfigError(
            "finetune.method=bitfit: this model has no biases below its head; choose another method, or linear_probe "
            "for the head alone"
        )


def _also(config):
    return tuple((pattern, True) for pattern in config.finetune.also)


def _top(config, shapes, layers, counted_from_below=False):
    """Rules that train the heads and the top layers of each stack: `layers` of them, or all but so many."""
    rules = [*_also(config), (head_pattern(), True)]
    for stack, count in _stacks(shapes).items():
        top = count - layers if counted_from_below else min(layers, count)
        if top > 0:
            numbers = "|".join(map(str, range(count - top, count)))
            rules.append((f"{stack}/layers/({numbers})/.*", True))
    if layers or counted_from_below:
        rules.append((_FINAL_NORM, True))
    return (*rules, (r".*", False))
