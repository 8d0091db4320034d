"""Every option of Cloze, with its default and what it means. Experiments state only what differs.

A config file defines `get_config(arguments="")`, where `arguments` is the text after the colon in
`--config=configs/bert_base.py:tiny,data=wikipedia`, and starts from `experiment(name, arguments, ...)`. What the
experiments of a family have in common is in configs/encoders.py, decoders.py and encoder_decoders.py.

Two kinds of value need a word:
* A *duration* is a number of steps (1000) or a string with a unit: "2 epochs", "1e9 tokens",
  "5000 examples".
* `None` in `model` means "as the preset says"; elsewhere the comment says what None means.
"""

import json
import re

from ml_collections import config_dict

from cloze import models, options, storage
from cloze.data.pipeline import DataOptions
from cloze.data.tokenizers import TokenizerOptions
from cloze.errors import ConfigError
from cloze.models.config import Execution, ModelConfig
from cloze.models.heads import label_pattern
from cloze.objectives import OBJECTIVES
from cloze.options import suggest
from cloze.parallel.mesh import MeshOptions
from cloze.tasks.base import TaskOptions
from cloze.training.methods import METHODS
from cloze.training.optimizers.base import OPTIMIZERS
from cloze.training.settings import CheckpointOptions, InitOptions, RunOptions, TrainOptions


def duration(default):
    """A field that takes a number of steps or a string with a unit, also on the command line."""
    return config_dict.FieldReference(default, field_type=object)


def _model():
    """All options of a model are None, "as the preset says", but for its name and how it runs."""
    return options.overrides(ModelConfig, family="bert", preset="base", **options.defaults(Execution))


SECTIONS = {  # {section: the class that declares its options}
    "tokenizer": TokenizerOptions,
    "data": DataOptions,
    "task": TaskOptions,
    "train": TrainOptions,
    "init": InitOptions,
    "checkpoint": CheckpointOptions,
    "mesh": MeshOptions,
}
CHOICES = {  # {section: (its key that chooses the class, the classes, the one chosen)}
    "objective": ("name", OBJECTIVES, "masked_lm"),
    "optimizer": ("name", OPTIMIZERS, "adamw"),
    "finetune": ("method", METHODS, "full"),
}


def get_base():
    """The configuration with every option at its default."""
    c = options.section(RunOptions)
    with c.unlocked():
        c.model = _model()
        for name, (key, classes, chosen) in CHOICES.items():
            c[name] = options.Choice(key, name, classes, chosen)
        for name, cls in SECTIONS.items():
            c[name] = options.section(cls)
    return c


def declarations(config):
    """[(section, the class that declares its options, the section of this configuration)]; "": what is at the top."""
    found = [("", RunOptions, config)]
    for name, section in config.items():
        if isinstance(section, options.Choice):
            found.append((name, section.chosen, section))
        elif name in SECTIONS:
            found.append((name, SECTIONS[name], section))
    return found


def check(config):
    """Refuses values outside what the options declare; what depends on a model or on data is checked where it is known.

    Raises:
        ConfigError: names the option, its value, and what it may be.
    """
    for name, cls, section in declarations(config):
        options.check(cls, section, name)


def rules_of_change(config):
    """{dotted key: options.NEVER, BY_HAND or FREELY} of every option, and of the keys that choose options."""
    found = {f"{name}.{key}": options.NEVER for name, (key, _, _) in CHOICES.items()}
    for section, cls, _ in (*declarations(config), ("model", ModelConfig, None)):
        for name, field in options.declared(cls).items():
            found[f"{section}.{name}" if section else name] = field.metadata["option"].changes
    return found


def describe(config):
    """Lines that say of every option its value, its default where it differs, its comment and what it may be.

    The values of `model` are those that its preset gives where the configuration gives none.
    """
    lines = []
    for name, cls, section in declarations(config):
        if name in CHOICES:
            key, classes, _ = CHOICES[name]
            lines += [f"{name}.{key} = {section[key]!r}", f"    which of them, with its options [{', '.join(classes)}]"]
        lines += options.describe(cls, section, name)
    return lines + options.describe(ModelConfig, vars(models.resolve(config.model)), "model")


PUBLIC_DATA = {  # words for data=..., each a source string
    "pydocs": "pydocs",
    "wikipedia": "tfds:wikipedia/20230601.en",
    "c4": "tfds:c4/en",
    "lm1b": "tfds:lm1b",
    "pg19": "tfds:pg19",
}


def parse_arguments(arguments, **known):
    """Reads the text after the colon of --config: bare switches and key=value pairs.

    Args:
        arguments: e.g. "tiny,data=wikipedia", or "data=wikipedia=0.8,text:books/*.txt=0.2".
        **known: the arguments that this config takes beyond `tiny` and `data`, each with the values that it may have,
            the default first; all are of one type. A string instead of them is the default of any text.

    Returns:
        A dict with a value for every known argument. `data` is a source string.

    Raises:
        ConfigError: an unknown argument, or a value that the argument cannot have.
    """
    defaults = {"tiny": False, "data": "pydocs"}
    defaults |= {key: choices if isinstance(choices, str) else choices[0] for key, choices in known.items()}
    values, last = dict(defaults), None
    for part in filter(None, (part.strip() for part in (arguments or "").split(","))):
        key, _, text = part.partition("=")
        if key not in defaults and last == "data" and (":" in key or key in PUBLIC_DATA):  # more of a mixture
            values["data"] += "," + part
            continue
        if key not in defaults:
            takes = [key if key == "tiny" else f"{key}={default}" for key, default in defaults.items()]
            hint = suggest(key, defaults) or "."
            raise ConfigError(f"unknown config argument {key!r}{hint} Known, with their defaults: {', '.join(takes)}")
        values[key] = _argument(key, part, text, defaults[key], known.get(key))
        last = key
    values["data"] = ",".join(_public_data(part) for part in values["data"].split(","))
    return values


def _argument(key, part, text, default, choices):
    """The value of one argument: of a switch, of one with a few possible values, or any text."""
    if isinstance(default, bool):
        if part != key and text.lower() not in ("true", "false"):
            raise ConfigError(f"config argument {key!r} is a switch: write {key} or {key}=false, not {part!r}")
        return text.lower() != "false"
    if not text:
        raise ConfigError(f"config argument {key!r} needs a value, for example {key}={default}")
    if choices is None or isinstance(choices, str):
        return text
    for choice in choices:
        if str(choice) == text.lower():
            return choice
    hint = suggest(text, choices) or "."
    raise ConfigError(f"config argument {key}={text!r} is unknown{hint} Known: {', '.join(map(str, choices))}")


def whole_number(key, text):
    """The value of an argument that is a number of things."""
    if not text.isdigit():
        raise ConfigError(f"config argument {key}={text!r} is not a whole number")
    return int(text)


def _public_data(part):
    """A part of a mixture with the word for public data, if it is one, replaced by its source; the weight stays."""
    word, equals, weight = part.partition("=")
    return PUBLIC_DATA.get(word, word) + equals + weight


def experiment(name, arguments, **known):
    """What every experiment starts from.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        **known: see `parse_arguments`.

    Returns:
        (configuration with every option at its default but `name` and `data.source`, dict of the arguments' values).

    Raises:
        ConfigError: see `parse_arguments`.
    """
    values = parse_arguments(arguments, **known)
    c = get_base()
    c.name = name
    c.data.source = values["data"]
    return c, values


REMEDY = "bring the file back, or give the run's train.py command again, which writes it anew"  # for a config.json


def to_dict(config):
    """The configuration as a JSON dict; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def like(config):
    """`get_base()` with the choices of a configuration: of the same objective, and so on."""
    c = get_base()
    for name, section in config.items():
        if isinstance(section, options.Choice):
            c[name][section.key] = section[section.key]
    return c


def load(path):
    """The configuration that a run saved as config.json.

    Raises:
        ConfigError: it cannot be read, is no JSON, or has options that this version has not.
    """
    try:
        values = storage.read_json(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; is it the directory of a run?") from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}; {REMEDY}") from None
    return from_dict(values, path)


def from_dict(values, path):
    """The configuration of a JSON dict as `to_dict` gives it; `path` is named in errors.

    Raises:
        ConfigError: it has options that this version has not, or values of another type.
    """
    try:
        config = get_base()
        config.update(_tuples(_without_unread(values)))
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(f"{path} is not a configuration of this version: {error}; {REMEDY}") from None
    return config


def _without_unread(values):
    """A saved configuration as this version has it.

    Version 0.1 saved the options of all objectives, optimizers and methods, whichever was chosen, and said in
    `model.window_layers` which layers have the window.
    """
    values = {name: dict(section) if isinstance(section, dict) else section for name, section in values.items()}
    for name, (key, classes, _) in CHOICES.items():
        read = options.declared(classes[values[name][key]])
        unread = {option for cls in classes.values() for option in options.declared(cls)} - set(read)
        values[name] = {option: value for option, value in values[name].items() if option not in unread}
    model = values["model"]
    if "window_layers" in model:
        layers = model.pop("window_layers") or ("odd" if model["family"] == "gpt3" else "all")
        if model["window"] and layers == "odd":
            model |= {"window": None, "pattern": [{}, {"window": model["window"]}]}
    return values


def _tuples(value):
    """JSON's lists, at any depth, as tuples; patterns of the heads of labels name those that there are now."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, str) and _LABEL_HEADS.fullmatch(value):
        return label_pattern(last="pooler" not in value)
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


_LABEL_HEADS = re.compile(r"\((\w+\|)*classifier(\|\w+)*\)/\.\*")  # what `label_pattern` gave when it was saved
