"""Llama 1, 2, 3, 3.1 and 3.2, and what its relatives share.

transformers 5 keeps the rotary settings in `rope_parameters`; older releases, and the released files, in `rope_theta`
and `rope_scaling`. Both are read, both are written.
"""

from cloze.errors import ConfigError
from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row
from cloze.interop.formats import gpt2

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
    Row("classifier", "score", LINEAR),
    Row("tagger", "score", LINEAR),
)
FIXED = {"token_classification_bias": (True,), "partial_rotary_factor": (None, 1.0)}
COPIES = {"lm_head.weight": "{base}embed_tokens.weight"}
IGNORED = (r".*\.rotary_emb\.inv_freq",)


def fields(**defaults):
    """Llama's table of settings with other defaults."""
    return tuple(field._replace(default=defaults.get(field.theirs, field.default)) for field in FIELDS)


def classes(prefix, spans_base=None):
    """The classes that all relatives have; `spans_base` is the prefix of the body where spans are scored."""
    return {
        f"{prefix}ForCausalLM": ModelClass(heads=("lm",)),
        f"{prefix}Model": ModelClass(base=""),
        f"{prefix}ForSequenceClassification": ModelClass(heads=("class",), settings=gpt2.LAST_TOKEN),
        f"{prefix}ForTokenClassification": ModelClass(heads=("tag",)),
        f"{prefix}ForQuestionAnswering": ModelClass(
            heads=("span",), settings=gpt2.SPANS, base=spans_base, names=(Row("span_head", "qa_outputs", LINEAR),)
        ),
    }


def read(settings, tensors):
    """What all relatives read beyond their table."""
    made = {**_read_rotary(settings), **gpt2.head_dropout(settings)}
    if settings.get("num_key_value_heads", 0) is None:
        made["kv_heads"] = 0  # unlike silence, null means as many as heads
    return made


def _read_rotary(settings):
    found = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    kind = found.get("rope_type", found.get("type", "default"))
    made = {"rope_theta": found.get("rope_theta") or settings.get("rope_theta") or 10000.0}
    if kind == "llama3":
        longest = {_SCALING[-1]: settings.get("max_position_embeddings")}
        outside = {key: settings[key] for key in _SCALING[-1:] if key in settings}  # goes before that of the dict
        numbers = longest | found | outside
        missing = [key for key in _SCALING if numbers.get(key) is None]
        if missing:
            raise ConfigError(
                f"config.json: rotary positions of rope_type 'llama3' lack {', '.join(missing)}: add them"
            )
        made["rope_scaling"] = tuple(float(numbers[key]) for key in _SCALING)
    elif kind != "default":
        raise ConfigError(
            f"config.json: rotary positions of rope_type {kind!r} are not supported, expected 'default' or 'llama3'"
        )
    return made


def write(config):
    """What all relatives write beyond their table."""
    rotary = {"rope_type": "default"}
    if config.rope_scaling:
        rotary = {"rope_type": "llama3", **dict(zip(_SCALING, config.rope_scaling, strict=True))}
        rotary["original_max_position_embeddings"] = int(rotary["original_max_position_embeddings"])
    return {
        "rope_parameters": {"rope_theta": config.rope_theta, **rotary},
        "rope_theta": config.rope_theta,
        "rope_scaling": rotary if config.rope_scaling else None,
        **gpt2.write_head_dropout(config),
    }


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
