"""T5 and T5 1.1.

transformers 5 ties the vocabulary head of every T5 and keeps only the scaling of its logits apart, as
`scale_decoder_outputs`; older releases, and the released 1.1 files, say both with `tie_word_embeddings`. What counts
for us is whether a file that is not plainly tied brings a head of its own.

T5ForSequenceClassification reads the decoder's state where the encoder has its last </s>, given the encoder's tokens
shifted right by one place: give that place as `pool_positions`.
"""

from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row

_ENCODER, _DECODER = "{base}encoder.block.{i}.layer", "{base}decoder.block.{i}.layer"
_ENCODER_ONLY = dict(
    settings={"architecture": "encoder", "decoder_layers": 0}, keys={"is_encoder_decoder": False}
)  # fmt: skip
_GATED = {"gelu": "gelu_tanh"}  # "gated-gelu" has meant the tanh form since the first 1.1 files


def _read(settings, tensors):
    words = settings.get("feed_forward_proj", "relu").split("-")
    activation, gated = words[-1], words[0] == "gated"
    scaled = settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings", True))
    tied = scaled and settings.get("tie_word_embeddings", True)
    rate = settings.get("dropout_rate", 0.1)
    before_head = settings.get("classifier_dropout", 0.0)
    fields = {
        "activation": (_GATED if gated else {}).get(activation) or ACTIVATIONS.get(activation, activation),
        "gated": gated,
        "scale_tied_logits": scaled,
        "tie_embeddings": tied or "lm_head.weight" not in tensors,
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "final_dropout"), rate),
        **dict.fromkeys(("pooler_dropout", "head_dropout"), before_head),
    }
    if settings.get("is_encoder_decoder", True):
        layers = settings.get("num_decoder_layers")
        fields["decoder_layers"] = settings.get("num_layers", 6) if layers is None else layers
    return fields


def _write(config):
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    activation = names[config.activation]
    if config.gated:
        activation = f"gated-{'gelu' if config.activation == 'gelu_tanh' else activation}"
    return {
        "feed_forward_proj": activation,
        "dropout_rate": config.dropout,
        **({"classifier_dropout": config.head_dropout} if {"class", "tag"} & set(config.heads_out) else {}),
        "scale_decoder_outputs": config.scale_tied_logits,
        "tie_word_embeddings": config.tie_embeddings,
        "num_decoder_layers": config.decoder_layers or config.layers,
    }


def _attention(ours, theirs):
    return tuple(
        Row(f"{ours}/{name}", f"{theirs}.{letter}", LINEAR)
        for name, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o"))
    )


def _side(side, block, last):
    """The rows of one stack; `last` is the number of the feed-forward sublayer."""
    ffn, dense = f"{side}/layers/{{i}}/ffn", f"{block}.{last}.DenseReluDense"
    return (
        Row(f"{side}_relative_bias", f"{{base}}{side}.block.0.layer.0.SelfAttention.relative_attention_bias", TABLE),
        *_attention(f"{side}/layers/{{i}}/attention", f"{block}.0.SelfAttention"),
        Row(f"{side}/layers/{{i}}/attention_norm", f"{block}.0.layer_norm", NORM),
        Row(f"{side}/layers/{{i}}/ffn_norm", f"{block}.{last}.layer_norm", NORM),
        Row(f"{ffn}/up", f"{dense}.wi", LINEAR, when=lambda config: not config.gated),
        Row(f"{ffn}/gate", f"{dense}.wi_0", LINEAR),
        Row(f"{ffn}/up", f"{dense}.wi_1", LINEAR, when=lambda config: config.gated),
        Row(f"{ffn}/down", f"{dense}.wo", LINEAR),
        Row(f"{side}/final_norm", f"{{base}}{side}.final_layer_norm", NORM),
    )


FORMAT = Format(
    model_type="t5",
    families=("t5",),
    preset="small",
    classes={
        "T5ForConditionalGeneration": ModelClass(heads=("lm",)),
        "T5Model": ModelClass(),
        "T5EncoderModel": ModelClass(**_ENCODER_ONLY),
        "T5ForSequenceClassification": ModelClass(heads=("class",), base="transformer."),
        "T5ForTokenClassification": ModelClass(heads=("tag",), base="transformer.", **_ENCODER_ONLY),
        "T5ForQuestionAnswering": ModelClass(heads=("span",), settings={"head_dropout": 0.0}),
    },
    fields=(
        Field("vocab_size", "vocab_size", 32128),
        Field("width", "d_model", 512),
        Field("head_dim", "d_kv", 64),
        Field("ffn", "d_ff", 2048),
        Field("layers", "num_layers", 6),
        Field("heads", "num_heads", 8),
        Field("relative_buckets", "relative_attention_num_buckets", 32),
        Field("relative_max_distance", "relative_attention_max_distance", 128),
        Field("norm_epsilon", "layer_norm_epsilon", 1e-6),
    ),
    names=(
        Row("token", "{base}shared", TABLE),
        *_side("encoder", _ENCODER, last=1),
        *_side("decoder", _DECODER, last=2),
        *_attention("decoder/layers/{i}/cross_attention", f"{_DECODER}.1.EncDecAttention"),
        Row("decoder/layers/{i}/cross_attention_norm", f"{_DECODER}.1.layer_norm", NORM),
        Row("lm_head", "lm_head", LINEAR),
        Row("pooler/dense", "classification_head.dense", LINEAR),
        Row("classifier", "classification_head.out_proj", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    fixed={"is_decoder": (False,)},
    keys={"is_encoder_decoder": True, "decoder_start_token_id": 0},
    copies={
        "{base}encoder.embed_tokens.weight": "{base}shared.weight",
        "{base}decoder.embed_tokens.weight": "{base}shared.weight",
        "lm_head.weight": "{base}shared.weight",
    },
    # Old releases kept a table for cross-attention that nothing reads.
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    read=_read,
    write=_write,
)
