"""ModernBERT: ModernBertForMaskedLM and its relatives, whose heads stand on the same dense layer and norm.

Released files say which layers are global by `global_attn_every_n_layers`, and their rotations by `global_rope_theta`
and `local_rope_theta`; transformers 5 has `layer_types` and `rope_parameters`. Both are read, the latter is written.
ModernBertForMultipleChoice finds the first token of a text by the mask, we at the start of the row.
"""

from cloze.errors import ConfigError
from cloze.interop import patterns
from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row, linear_part
from cloze.interop.formats import llama

_LAYER = "{base}layers.{i}"
_ROTATIONS = {patterns.FULL: ("global_rope_theta", 160000.0), patterns.SLIDING: ("local_rope_theta", 10000.0)}
_ALIKE = {"classifier_activation": ("hidden_activation", "gelu"), "classifier_bias": ("mlp_bias", False)}


def _read(settings, tensors):
    for key, (other, default) in _ALIKE.items():
        value, expected = settings.get(key, default), settings.get(other, default)
        if value != expected:
            raise ConfigError(
                f"config.json: {key}={value!r} is not supported, expected {expected!r} as {other}: in this our heads "
                "are like the layers"
            )
    return {**_read_layers(settings), **llama.read_biases(settings)}


def _read_layers(settings):
    layers, every = settings.get("num_hidden_layers", 22), settings.get("global_attn_every_n_layers", 3)
    types = settings.get("layer_types") or [patterns.SLIDING if i % every else patterns.FULL for i in range(layers)]
    windows = {patterns.FULL: 0, patterns.SLIDING: settings.get("local_attention", 128) // 2 + 1}
    options = {}
    for kind, (key, default) in _ROTATIONS.items():
        numbers = (settings.get("rope_parameters") or {}).get(kind) or {}
        numbers = {"rope_theta": settings.get(key, default), **numbers, **(settings.get("rope_scaling") or {})}
        options[kind] = {"window": windows[kind], **llama.read_rotary(numbers, settings)}
    return patterns.read(types, layers, options)


def _write(config):
    blocks, window = patterns.blocks(config), patterns.window(config)
    return {
        "layer_types": patterns.types(config),
        "local_attention": 128 if window is None else 2 * (window - 1),
        "rope_parameters": {kind: llama.write_rotary(block.positions) for kind, block in blocks.items()},
        "attention_bias": config.projection_bias("q"),
        "mlp_bias": config.use_bias,
        "classifier_bias": config.use_bias,
    }


FORMAT = Format(
    model_type="modernbert",
    families=("modernbert",),
    preset="base",
    base="model.",
    classes={
        "ModernBertForMaskedLM": ModelClass(heads=("mlm",)),
        "ModernBertModel": ModelClass(base=""),
        "ModernBertForSequenceClassification": ModelClass(heads=("class",)),
        "ModernBertForMultipleChoice": ModelClass(heads=("choice",)),
        "ModernBertForTokenClassification": ModelClass(heads=("tag",)),
        "ModernBertForQuestionAnswering": ModelClass(heads=("span",)),
    },
    fields=(
        Field("vocab_size", "vocab_size", 50368),
        Field("width", "hidden_size", 768),
        Field("layers", "num_hidden_layers", 22),
        Field("heads", "num_attention_heads", 12),
        Field("ffn", "intermediate_size", 1152),
        Field("max_positions", "max_position_embeddings", 8192),
        Field("norm_epsilon", "norm_eps", 1e-5),
        Field("norm_bias", "norm_bias", False),
        Field("activation", "classifier_activation", "gelu", ACTIVATIONS),
        Field("activation", "hidden_activation", "gelu", ACTIVATIONS),
        Field("dropout", "embedding_dropout", 0.0),
        Field("attention_dropout", "attention_dropout", 0.0),
        Field("activation_dropout", "mlp_dropout", 0.0),
        Field("head_dropout", "classifier_dropout", 0.0),
        Field("pooling", "classifier_pooling", "cls", {"cls": "first", "mean": "mean"}),
        Field("initializer_std", "initializer_range", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", True),
    ),
    names=(
        Row("token", "{base}embeddings.tok_embeddings", TABLE),
        Row("encoder_embeddings/norm", "{base}embeddings.norm", NORM),
        Row("encoder/layers/{i}/attention_norm", f"{_LAYER}.attn_norm", NORM),
        Row("encoder/layers/{i}/attention/query", f"{_LAYER}.attn.Wqkv", linear_part(0, 3)),
        Row("encoder/layers/{i}/attention/key", f"{_LAYER}.attn.Wqkv", linear_part(1, 3)),
        Row("encoder/layers/{i}/attention/value", f"{_LAYER}.attn.Wqkv", linear_part(2, 3)),
        Row("encoder/layers/{i}/attention/output", f"{_LAYER}.attn.Wo", LINEAR),
        Row("encoder/layers/{i}/ffn_norm", f"{_LAYER}.mlp_norm", NORM),
        Row("encoder/layers/{i}/ffn/gate", f"{_LAYER}.mlp.Wi", linear_part(0, 2)),  # the half that is activated
        Row("encoder/layers/{i}/ffn/up", f"{_LAYER}.mlp.Wi", linear_part(1, 2)),
        Row("encoder/layers/{i}/ffn/down", f"{_LAYER}.mlp.Wo", LINEAR),
        Row("encoder/final_norm", "{base}final_norm", NORM),
        Row("head_transform/dense", "head.dense", LINEAR),
        Row("head_transform/norm", "head.norm", NORM),
        Row("mlm_head", "decoder", LINEAR),
        Row("classifier", "classifier", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "classifier", LINEAR),
    ),
    fixed={"decoder_bias": (True,)},
    keys={"pad_token_id": None},  # silence would be a row of the released vocabulary
    copies={"decoder.weight": "{base}embeddings.tok_embeddings.weight"},
    read=_read,
    write=_write,
)
