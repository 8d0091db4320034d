"""DeBERTa v2 and v3: DebertaV2ForMaskedLM and its relatives, without the convolution of the largest v2 models."""

import dataclasses

from cloze.errors import ConfigError
from cloze.interop.format import LINEAR, NORM, ModelClass, Row
from cloze.interop.formats import deberta

_SELF = "{base}encoder.layer.{i}.attention.self"
_DEFAULTS = {  # where they differ from the first version's
    "vocab_size": 128100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
}


def _read(settings, tensors):
    settings = settings.replaced(**{key: settings.get(key, default) for key, default in _DEFAULTS.items()})
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    size = settings.get("attention_head_size", width // heads)
    if size * heads != width:
        raise ConfigError(
            f"config.json: attention_head_size={size} is not supported, expected hidden_size / num_attention_heads = "
            f"{width}/{heads}: transformers' output projection takes no other"
        )
    norms = [kind.strip() for kind in settings.get("norm_rel_ebd", "none").lower().split("|")]
    return deberta.read(settings, tensors) | {
        "relative_buckets": max(settings.get("position_buckets", -1), 0),
        "relative_shared": settings.get("share_att_key", False),
        "relative_norm": "layer_norm" in norms,
    }


def _write(config):
    return deberta.write(config) | {
        "position_buckets": config.relative_buckets or -1,
        "share_att_key": config.relative_shared,
        "norm_rel_ebd": "layer_norm" if config.relative_norm else "none",
    }


FORMAT = dataclasses.replace(
    deberta.FORMAT,
    model_type="deberta-v2",
    preset="v3_base",
    classes={
        "DebertaV2ForMaskedLM": ModelClass(heads=("mlm",)),
        "DebertaV2Model": ModelClass(base=""),
        "DebertaV2ForSequenceClassification": ModelClass(heads=("class",)),
        "DebertaV2ForMultipleChoice": ModelClass(heads=("choice",)),
        "DebertaV2ForTokenClassification": ModelClass(heads=("tag",)),
        "DebertaV2ForQuestionAnswering": ModelClass(heads=("span",)),
    },
    fields=tuple(field._replace(default=_DEFAULTS.get(field.theirs, field.default)) for field in deberta.FIELDS),
    names=(
        *deberta.NAMES,
        Row("encoder_relative/norm", "{base}encoder.LayerNorm", NORM),
        Row("encoder/layers/{i}/attention/query", f"{_SELF}.query_proj", LINEAR),
        Row("encoder/layers/{i}/attention/key", f"{_SELF}.key_proj", LINEAR),
        Row("encoder/layers/{i}/attention/value", f"{_SELF}.value_proj", LINEAR),
        Row("encoder/layers/{i}/attention/relative/position_key", f"{_SELF}.pos_key_proj", LINEAR),
        Row("encoder/layers/{i}/attention/relative/position_query", f"{_SELF}.pos_query_proj", LINEAR),
    ),
    fixed={"conv_kernel_size": (0,)},
    read=_read,
    write=_write,
)
