"""BART.

Without tokens for its decoder, transformers gives it those of the encoder shifted right by one place, and
BartForSequenceClassification reads the decoder's state where the encoder has its last </s>: give that place as
`pool_positions`.
"""

from cloze.errors import ConfigError
from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Buffer, Field, Format, ModelClass, Row

ZERO_BIAS = Buffer("final_logits_bias", lambda config: (1, config.vocab_size), 0.0)
SAME_SIDES = ("attention_heads", "ffn_dim")  # settings that encoder and decoder have apart, and we do not


def _attention(ours, theirs):
    names = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "out_proj"))
    return tuple(Row(f"{ours}/{name}", f"{theirs}.{theirs_name}", LINEAR) for name, theirs_name in names)


def _side(side):
    """The rows of one stack and its embeddings."""
    ours, theirs = f"{side}/layers/{{i}}", f"{{base}}{side}.layers.{{i}}"
    return (
        *_attention(f"{ours}/attention", f"{theirs}.self_attn"),
        Row(f"{ours}/attention_norm", f"{theirs}.self_attn_layer_norm", NORM),
        Row(f"{ours}/ffn/up", f"{theirs}.fc1", LINEAR),
        Row(f"{ours}/ffn/down", f"{theirs}.fc2", LINEAR),
        Row(f"{ours}/ffn_norm", f"{theirs}.final_layer_norm", NORM),
    )


def _embeddings(side):
    return (
        Row(f"{side}_embeddings/position", f"{{base}}{side}.embed_positions", TABLE),
        Row(f"{side}_embeddings/norm", f"{{base}}{side}.layernorm_embedding", NORM),
    )


FIELDS = (
    Field("vocab_size", "vocab_size", 50265),
    Field("width", "d_model", 1024),
    Field("layers", "encoder_layers", 12),
    Field("decoder_layers", "decoder_layers", 12),
    Field("heads", "encoder_attention_heads", 16),
    Field("ffn", "encoder_ffn_dim", 4096),
    Field("max_positions", "max_position_embeddings", 1024),
    Field("activation", "activation_function", "gelu", ACTIVATIONS),
    Field("scale_embeddings", "scale_embedding", False),
    Field("dropout", "dropout", 0.1),
    Field("attention_dropout", "attention_dropout", 0.0),
    Field("activation_dropout", "activation_dropout", 0.0),
    Field("initializer_std", "init_std", 0.02),
)
NAMES = (
    Row("token", "{base}shared", TABLE),
    *_side("encoder"),
    *_side("decoder"),
    *_attention("decoder/layers/{i}/cross_attention", "{base}decoder.layers.{i}.encoder_attn"),
    Row("decoder/layers/{i}/cross_attention_norm", "{base}decoder.layers.{i}.encoder_attn_layer_norm", NORM),
)
FIXED = {
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "encoder_layerdrop": (0.0,),
    "decoder_layerdrop": (0.0,),
    # Untied, both sides have tables of their own.
    "tie_word_embeddings": (True,),
}
COPIES = {
    "lm_head.weight": "{base}shared.weight",
    "{base}encoder.embed_tokens.weight": "{base}shared.weight",
    "{base}decoder.embed_tokens.weight": "{base}shared.weight",
}


def check_sides(settings):
    """Raises ConfigError where encoder and decoder have other sizes."""
    for key, default in zip(SAME_SIDES, (16, 4096), strict=True):
        sizes = [settings.get(f"{side}_{key}", default) for side in ("encoder", "decoder")]
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"config.json: encoder_{key}={sizes[0]} and decoder_{key}={sizes[1]} differ: both sides of our models "
                "have the same"
            )


def write_sides(config):
    """The decoder's sizes, which are the encoder's."""
    return {"decoder_attention_heads": config.heads, "decoder_ffn_dim": config.ffn}


def _read(settings, tensors):
    check_sides(settings)
    rate = settings.get("classifier_dropout", 0.0)
    return {
        "pooler_dropout": rate,
        "head_dropout": rate,
        "num_labels": len(settings.get("id2label") or ()) or settings.get("num_labels", 3),
    }


FORMAT = Format(
    model_type="bart",
    families=("bart",),
    preset="large",
    base="model.",
    classes={
        "BartForConditionalGeneration": ModelClass(heads=("lm",), buffers=(ZERO_BIAS,)),
        "BartModel": ModelClass(base=""),
        "BartForSequenceClassification": ModelClass(heads=("class",)),
        "BartForQuestionAnswering": ModelClass(heads=("span",), settings={"head_dropout": 0.0}),
    },
    fields=FIELDS,
    names=(
        *NAMES,
        *_embeddings("encoder"),
        *_embeddings("decoder"),
        Row("pooler/dense", "classification_head.dense", LINEAR),
        Row("classifier", "classification_head.out_proj", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    fixed=FIXED,
    keys={"is_encoder_decoder": True, "decoder_start_token_id": 2, "forced_eos_token_id": 2},
    copies=COPIES,
    read=_read,
    write=lambda config: {
        **write_sides(config),
        **({"classifier_dropout": config.pooler_dropout} if "class" in config.heads_out else {}),
    },
)
