"""Gemma 2: Gemma with norms on both sides of each sublayer, soft caps, and windows in every second layer."""

from cloze.errors import ConfigError
from cloze.interop import patterns
from cloze.interop.format import NORM, Format, Row
from cloze.interop.formats import llama

_LAYER = "{base}layers.{i}"
_WINDOW = 4096
NORMS = (
    Row("decoder/layers/{i}/attention_output_norm", f"{_LAYER}.post_attention_layernorm", NORM),
    Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.pre_feedforward_layernorm", NORM),
    Row("decoder/layers/{i}/ffn_output_norm", f"{_LAYER}.post_feedforward_layernorm", NORM),
)
FIXED = {**llama.FIXED, "use_bidirectional_attention": (None, False)}


def fields(**defaults):
    """The table of settings of Gemma 2 and 3, with other defaults."""
    rows = llama.fields(
        hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8, num_key_value_heads=4,
        head_dim=256, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True, **defaults,
    )  # fmt: skip
    return tuple(row._replace(theirs="hidden_activation") if row.theirs == "hidden_act" else row for row in rows)


def read(settings, tensors, *, final_cap):
    """What Gemma 2 and 3 read alike; `final_cap` is the cap on logits where config.json has no such key."""
    return {
        **llama.read(settings, tensors),
        **llama.read_biases(settings),
        "query_scalar": settings.get("query_pre_attn_scalar", 256),
        "logit_cap": settings.get("final_logit_softcapping", final_cap) or 0,
    }


def read_layers(settings, every, full, sliding):
    """Which layers have a window: all but each `every`-th. `full` and `sliding` are options of the two types."""
    layers = settings.get("num_hidden_layers", 26)
    types = [patterns.SLIDING if (i + 1) % every else patterns.FULL for i in range(layers)]
    window = settings.get("sliding_window", _WINDOW) or 0
    options = {patterns.SLIDING: {"window": window, **sliding}, patterns.FULL: {"window": 0, **full}}
    return patterns.read(settings.get("layer_types") or types, layers, options)


def write(config):
    """What Gemma 2 and 3 write alike."""
    if config.width % config.heads:
        raise ConfigError(
            f"model.width={config.width} is no multiple of model.heads={config.heads}: transformers' Gemma refuses it, "
            "whatever model.head_dim is"
        )
    return {
        **llama.write(config),
        "attention_bias": config.projection_bias("q"),
        "query_pre_attn_scalar": round(config.block(0).scale ** -2),
        "final_logit_softcapping": config.logit_cap or None,
        "sliding_window": patterns.window(config) or _WINDOW,  # which must be there, whatever the layers are
        "layer_types": patterns.types(config),
    }


def _read(settings, tensors):
    made = {**read(settings, tensors, final_cap=30.0), **read_layers(settings, 2, {}, {})}
    return made | {"attention_softcap": settings.get("attn_logit_softcapping", 50.0) or 0}


FORMAT = Format(
    model_type="gemma2",
    families=("gemma2",),
    preset="2b",
    base="model.",
    classes=llama.classes("Gemma2", without=("span",)),
    fields=fields(vocab_size=256000, max_position_embeddings=8192),
    names=llama.names(*NORMS),
    fixed=FIXED,
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=_read,
    write=lambda config: {**write(config), "attn_logit_softcapping": config.block(0).softcap or None},
)
