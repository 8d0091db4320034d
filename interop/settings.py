"""config.json to ModelConfig and back."""

import collections
import dataclasses
import re
import typing

from cloze import models, options
from cloze.errors import ConfigError
from cloze.interop import formats, keys, plan
from cloze.models.config import PER_BLOCK
from cloze.models.heads import HEADS
from cloze.models.positions import SCHEMES
from cloze.options import suggest

# Fields that say how a model is run, trained or named, not what it computes: config.json need not hold them.
NOT_COMPUTED = frozenset(
    "family preset vocab_multiple initializer initializer_std dropout attention_dropout activation_dropout "
    "final_dropout pooler_dropout head_dropout dtype attention_backend scan remat heads_out".split()
)
# Fields in which blocks may differ: they are compared block by block, however a pattern is spelled.
IN_BLOCKS = frozenset(("pattern", "scale_attention", *PER_BLOCK)).union(*(s.differing for s in SCHEMES.values()))
# Keys of a source's config.json that we do not use, but that its users do: they go back where they came from.
CARRIED = (
    "pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "id2label", "label2id", "problem_type", "task_specific_params",
)  # fmt: skip
_FLOATS = frozenset(f.name for f in dataclasses.fields(models.ModelConfig) if f.type in (float, "float"))  # 0 is 0.0


def read(settings, tensors):
    """What a config.json describes.

    Args:
        settings: the JSON dict.
        tensors: names of the tensors beside it.

    Returns:
        (Format, class name, ModelConfig with the heads of that class).

    Raises:
        ConfigError: an unknown model_type or class, or settings that we cannot compute.
    """
    told = keys.CheckedObject(settings, keys.CONFIG, "config.json").get("model_type")
    if told is None:
        known = ", ".join(formats.model_types())
        raise ConfigError(f"config.json names no model_type: expected one of {known}; add the key")
    known = formats.get(told)
    settings = keys.CheckedObject(settings, _keys(known), "config.json")
    for key, allowed in known.fixed.items():
        if settings.get(key, allowed[0]) not in allowed:
            raise ConfigError(
                f"config.json: {key}={settings[key]!r} is not supported, expected "
                f"{' or '.join(map(repr, allowed))}: models of model_type={known.model_type} are computed so"
            )
    class_name = _class_name(known, settings, frozenset(tensors))
    return known, class_name, _resolve(known, class_name, settings, frozenset(tensors))


_HINTS, _DECLARED = typing.get_type_hints(models.ModelConfig), options.declared(models.ModelConfig)


def _keys(known):
    """{key of config.json: Key} of a format: those of its table are as the fields of ModelConfig that they become."""
    fields = {
        field.theirs: keys.Key(_HINTS[field.ours], _DECLARED[field.ours].metadata["option"])
        if field.values is None
        else keys.key(type(next(iter(field.values))))
        for field in known.fields
    }
    return dict.fromkeys(known.fixed, keys.ANY) | fields | keys.CONFIG


def _resolve(known, class_name, settings, tensors):
    """The ModelConfig of one of a format's classes."""
    settings = settings.replaced(architectures=[class_name])
    fields = {"num_labels": _num_labels(settings)}
    for field in known.fields:
        fields[field.ours] = _value(field, settings)
    fields |= known.read(settings, tensors) | known.classes[class_name].settings
    fields = {name: float(v) if name in _FLOATS and v is not None else v for name, v in fields.items()}
    return models.resolve(
        {"family": known.families[0], "preset": known.preset, **fields}, heads_out=known.classes[class_name].heads
    )


def _class_name(known, settings, tensors):
    """The class that config.json names; where it names none, the one that uses most of the tensors."""
    named = settings.get("architectures") or []
    found = [name for name in named if name in known.classes]
    if not named:
        stripped = {re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name)) for name in tensors}
        stripped = {name.removeprefix(known.base) for name in stripped}
        fitting = {}
        for name in known.classes:
            config = _resolve(known, name, settings, tensors)
            needed = {part.theirs for part in plan.plan(known.rows(name), "", config, plan.parameters(config))}
            if needed <= stripped:
                fitting[name] = len(needed)
        found = [max(fitting, key=fitting.get)] if fitting else []
    if found:
        return found[0]
    what = f"the class {named[0]!r} is not known" if named else "there is no key `architectures`, and no class fits"
    hint = suggest(named[0], known.classes) if named else ""
    raise ConfigError(
        f"config.json: {what}{hint or ';'} classes of model_type={known.model_type} that can be read: "
        f"{', '.join(known.classes)}"
    )


def _num_labels(settings):
    labels = settings.get("id2label")
    return len(labels) if labels else settings.get("num_labels", 2)


def label_names(settings: dict) -> tuple[str, ...]:
    """The names of a head's classes or tags in the order of its scores; () where config.json tells none.

    LABEL_0, LABEL_1, ... are no names: transformers writes them where none were given.
    """
    told = settings.get("id2label")
    if not isinstance(told, dict):
        return ()
    names = tuple(told.get(str(number)) for number in range(len(told)))
    clear = all(isinstance(name, str) and not re.fullmatch(r"LABEL_\d+", name) for name in names)
    return names if clear and len(set(names)) == len(names) else ()


def _value(field, settings):
    value = settings.get(field.theirs)
    value = field.default if value is None else value
    if field.values is None:
        return value
    if value not in field.values:
        raise ConfigError(
            f"config.json: {field.theirs}={value!r} is not supported, expected one of {', '.join(field.values)}"
        )
    return field.values[value]


def write(known, class_name, config, tensors, source_settings=None, labels=()):
    """The config.json of a model, as a dict.

    Args:
        known: Format.
        class_name: one of its classes.
        config: ModelConfig.
        tensors: names of the tensors that are written beside it.
        source_settings: config.json that the model was read from, if any: keys that only their users need are kept.
        labels: names of the classes or tags, in the order of the head's scores; (): those of the source, or none.

    Raises:
        ConfigError: a setting that the class cannot hold.
    """
    chosen = known.classes[class_name]
    made = {"architectures": [class_name], "model_type": known.model_type, **known.keys}
    for field in known.fields:
        made[field.theirs] = _their_value(field, getattr(config, field.ours), class_name)
    made |= known.write(config) | chosen.keys
    if {"class", "tag"} & set(chosen.heads):
        told = labels or [f"LABEL_{i}" for i in range(config.num_labels)]
        made["id2label"] = {str(i): name for i, name in enumerate(told)}
        made["label2id"] = {name: i for i, name in enumerate(told)}
    source = source_settings or {}
    if labels or _num_labels(source) != config.num_labels:
        source = {key: value for key, value in source.items() if key not in ("id2label", "label2id")}
    made |= {key: source[key] for key in CARRIED if source.get(key) is not None}
    _check_held(config, read(made, tensors)[2], class_name)
    return made


def _their_value(field, value, class_name):
    if field.values is None:
        return value
    for theirs, ours in field.values.items():
        if ours == value:
            return theirs
    raise ConfigError(f"model.{field.ours}={value!r}: transformers' {class_name} has nothing that computes it")


def _check_held(config, held, class_name):
    """Whether what was written reads back as the same computation."""
    for field in dataclasses.fields(config):
        name = field.name
        readers = {head for head, facts in HEADS.items() if name in facts.fields}  # none: the body reads it
        if name in NOT_COMPUTED | IN_BLOCKS or (readers and not readers & set(held.heads_out)):
            continue
        _check_same(f"model.{name}", getattr(config, name), getattr(held, name), class_name)
    for layer in range(max(config.layers, config.decoder_layers)):
        ours, theirs = _block(config, layer), _block(held, layer)
        for name in ours:
            _check_same(name, ours[name], theirs[name], class_name, f" of layer {layer}")


def _block(config, layer):
    """{name: what the block of a layer computes by}."""
    spec = config.block(layer)
    made = {name: value for name, value in vars(spec).items() if name != "positions"}
    return made | {name: getattr(spec.positions, name) for name in spec.positions.differing}


def _check_same(name, ours, theirs, class_name, where=""):
    if ours != theirs:
        raise ConfigError(
            f"{name}={ours!r}{where} cannot be written for transformers: its {class_name} computes {theirs!r}"
        )


def origins(known):
    """{our field: [their keys]} for messages."""
    found = collections.defaultdict(list)
    for field in known.fields:
        found[field.ours].append(field.theirs)
    return found
