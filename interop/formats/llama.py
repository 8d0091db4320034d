"""Llama 1, 2, 3, 3.1 and 3.2, and what its relatives share.

transformers 5 keeps the rotary settings in `rope_parameters`; older releases, and the released files, in `rope_theta`
and `rope_scaling`. Both are read, both are written.
"""

from cloze.errors import ConfigError
from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row
from cloze.interop.formats import gpt2
from cloze.models.positions.rotary import Rotary

_LAYER = "{base}layers.{i}"
_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
FIELDS = (
    Field("vocab_size", "vocab_size", 32000),
    Field("width", "hidden_size", 4096),
    Field("ffn", "intermediate_size", 11008),
    Field("layers", "num_hidden_layers", 32),
    Field("heads", "num_attention_heads", 32),
    Field("kv_heads", "num_key_value_heads", None),
    Field("head_dim", "head_dim", None),
    Field("max_positions", "max_position_embeddings", 2048),
    Field("norm_epsilon", "rms_norm_eps", 1e-6),
    Field("activation", "hidden_act", "silu", ACTIVATIONS),
    Field("attention_dropout", "attention_dropout", 0.0),
    Field("initializer_std", "initializer_range", 0.02),
    Field("tie_embeddings", "tie_word_embeddings", False),
)
NAMES = (
    Row("token", "{base}embed_tokens", TABLE),
    Row("decoder/layers/{i}/attention_norm", f"{_LAYER}.input_layernorm", NORM),
    Row("decoder/layers/{i}/attention/query", f"{_LAYER}.self_attn.q_proj", LINEAR),
    Row("decoder/layers/{i}/attention/key", f"{_LAYER}.self_attn.k_proj", LINEAR),
    Row("decoder/layers/{i}/attention/value", f"{_LAYER}.self_attn.v_proj", LINEAR),
    Row("decoder/layers/{i}/attention/output", f"{_LAYER}.self_attn.o_proj", LINEAR),
    Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.post_attention_layernorm", NORM),
    Row("decoder/layers/{i}/ffn/gate", f"{_LAYER}.mlp.gate_proj", LINEAR),
    Row("decoder/layers/{i}/ffn/up", f"{_LAYER}.mlp.up_proj", LINEAR),
    Row("decoder/layers/{i}/ffn/down", f"{_LAYER}.mlp.down_proj", LINEAR),
    Row("decoder/final_norm", "{base}norm", NORM),
    Row("lm_head", "lm_head", LINEAR),
)
QUERY_KEY_NORMS = (
    Row("decoder/layers/{i}/attention/query_norm", f"{_LAYER}.self_attn.q_norm", NORM),
    Row("decoder/layers/{i}/attention/key_norm", f"{_LAYER}.self_attn.k_norm", NORM),
)
FIXED = {"token_classification_bias": (True,), "partial_rotary_factor": (None, 1.0)}
COPIES = {"lm_head.weight": "{base}embed_tokens.weight"}
IGNORED = (r".*\.rotary_emb\.inv_freq",)


def fields(**defaults):
    """Llama's table of settings with other defaults."""
    return tuple(field._replace(default=defaults.get(field.theirs, field.default)) for field in FIELDS)


def names(*rows):
    """Llama's table of parameters with rows in place of those of the same `ours`, and with further ones."""
    replaced = {row.ours for row in rows}
    return (*rows, *(row for row in NAMES if row.ours not in replaced))


def classes(prefix, spans_base=None, without=()):
    """The classes of relatives, but for those of the heads `without`.

    `spans_base` is the prefix of the body where spans are scored.
    """
    every = {
        f"{prefix}ForCausalLM": ModelClass(heads=("lm",)),
        f"{prefix}Model": ModelClass(base=""),
        f"{prefix}ForSequenceClassification": ModelClass(
            heads=("class",), settings=gpt2.LAST_TOKEN, names=(Row("classifier", "score", LINEAR),)
        ),
        f"{prefix}ForTokenClassification": ModelClass(heads=("tag",), names=(Row("tagger", "score", LINEAR),)),
        f"{prefix}ForQuestionAnswering": ModelClass(
            heads=("span",), settings=gpt2.SPANS, base=spans_base, names=(Row("span_head", "qa_outputs", LINEAR),)
        ),
    }
    return {name: known for name, known in every.items() if not set(known.heads) & set(without)}


def read(settings, tensors):
    """What all relatives read beyond their table."""
    found = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    made = {**read_rotary({"rope_theta": settings.get("rope_theta"), **found}, settings), **gpt2.head_dropout(settings)}
    if settings.get("num_key_value_heads", 0) is None:
        made["kv_heads"] = 0  # unlike silence, null means as many as heads
    return made


def read_rotary(numbers, settings):
    """Options of the rotary scheme.

    Args:
        numbers: `rope_parameters`, or those of one type of layers.
        settings: config.json.
    """
    kind, scaling = numbers.get("rope_type", numbers.get("type", "default")), ()
    if kind == "llama3":
        longest = {_SCALING[-1]: settings.get("max_position_embeddings")}
        outside = {key: settings[key] for key in _SCALING[-1:] if key in settings}  # goes before that of the dict
        scaling = _numbers(longest | dict(numbers) | outside, kind, _SCALING)
    elif kind == "linear":
        scaling = _numbers(numbers, kind, _SCALING[:1])
    elif kind != "default":
        raise ConfigError(
            f"config.json: rotary positions of rope_type {kind!r} are not supported, expected 'default', 'linear' or "
            "'llama3'"
        )
    return {"rope_theta": float(numbers.get("rope_theta") or 10000.0), "rope_scaling": scaling}


def _numbers(numbers, kind, keys):
    missing = [key for key in keys if numbers.get(key) is None]
    if missing:
        raise ConfigError(f"config.json: rotary positions of rope_type {kind!r} lack {', '.join(missing)}: add them")
    return tuple(float(numbers[key]) for key in keys)


def write(config):
    """What all relatives write beyond their table."""
    return {
        "rope_parameters": write_rotary(config.scheme),
        **write_old_rotary(config.scheme),
        **gpt2.write_head_dropout(config),
    }


def write_rotary(scheme):
    """`rope_parameters` of a position scheme.

    Raises:
        ConfigError: it is not rotary.
    """
    if not isinstance(scheme, Rotary):
        raise ConfigError("transformers computes rotary positions in relatives of Llama: others cannot be written")
    kinds = {0: "default", 1: "linear", 4: "llama3"}  # by how many numbers the scaling has
    made = dict(zip(_SCALING, scheme.rope_scaling, strict=False))
    if _SCALING[-1] in made:
        made[_SCALING[-1]] = int(made[_SCALING[-1]])
    return {"rope_theta": scheme.rope_theta, "rope_type": kinds[len(scheme.rope_scaling)], **made}


def write_old_rotary(scheme):
    """The keys of older releases for the same."""
    scaling = write_rotary(scheme)
    theta = scaling.pop("rope_theta")
    return {"rope_theta": theta, "rope_scaling": scaling if "factor" in scaling else None}


def read_biases(settings):
    """Llama's and Gemma's `attention_bias` is of all four projections; `mlp_bias` is Llama's alone."""
    attention, ffn = settings.get("attention_bias", False), settings.get("mlp_bias", False)
    return {"use_bias": ffn, "attention_bias": "" if attention == ffn else "qkvo" if attention else "none"}


def _write(config):
    if config.width % config.heads:
        raise ConfigError(
            f"model.width={config.width} is no multiple of model.heads={config.heads}: transformers' Llama refuses it, "
            "whatever model.head_dim is"
        )
    return {**write(config), "attention_bias": config.projection_bias("q"), "mlp_bias": config.use_bias}


FORMAT = Format(
    model_type="llama",
    families=("llama",),
    preset="1_7b",
    base="model.",
    classes=classes("Llama", spans_base="transformer."),
    fields=FIELDS,
    names=NAMES,
    fixed=FIXED,
    copies=COPIES,
    ignored=IGNORED,
    read=lambda settings, tensors: {**read(settings, tensors), **read_biases(settings)},
    write=_write,
)
