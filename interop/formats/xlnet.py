"""XLNet: XLNetLMHeadModel and its relatives, without memories of earlier segments."""

from cloze.errors import ConfigError
from cloze.interop.format import (
    ACTIVATIONS,
    HEADS_IN,
    HEADS_OUT,
    LINEAR,
    NORM,
    TABLE,
    Field,
    Format,
    Leaf,
    ModelClass,
    Row,
)

_ATTENTION = "{base}layer.{i}.rel_attn"
_RELATIVE = "encoder/layers/{i}/attention/relative"
# [1, 1, D] for our [D].
_MASK = (Leaf("", "", lambda array, config: array[0, 0], lambda shape, config: (1, 1, *shape)),)
_SUMMARY_ACTIVATIONS = {"tanh": "tanh", **ACTIVATIONS}


def _read(settings, tensors):
    rate = settings.get("dropout", 0.1)
    return {
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "final_dropout"), rate),
        "pooler_activation": _summary_activation(settings),
        "pooler_dropout": settings.get("summary_first_dropout", 0.0),
        "head_dropout": settings.get("summary_last_dropout", 0.1),
    }


def _summary_activation(settings):
    """Our pooler_activation. The summary's projection and its activation come together or not at all."""
    projected = settings.get("summary_use_proj", True)
    activation = settings.get("summary_activation", "tanh") or "none"
    if projected and activation in _SUMMARY_ACTIVATIONS:
        return _SUMMARY_ACTIVATIONS[activation]
    if not projected and activation == "none":
        return "none"
    raise ConfigError(
        f"config.json: summary_use_proj={projected} with summary_activation={activation!r} is not supported, expected "
        f"true with one of {', '.join(_SUMMARY_ACTIVATIONS)}, or false with an empty one"
    )


def _write(config):
    projected = config.pooler_activation != "none"
    names = {ours: theirs for theirs, ours in reversed(_SUMMARY_ACTIVATIONS.items())}
    return {
        "dropout": config.dropout,
        "summary_use_proj": projected,
        "summary_activation": names[config.pooler_activation] if projected else "",
        "summary_first_dropout": config.pooler_dropout,
        "summary_last_dropout": config.head_dropout,
    }


FORMAT = Format(
    model_type="xlnet",
    families=("xlnet",),
    preset="large",
    base="transformer.",
    classes={
        "XLNetLMHeadModel": ModelClass(heads=("lm",)),
        "XLNetModel": ModelClass(base=""),
        "XLNetForSequenceClassification": ModelClass(
            heads=("class",), names=(Row("classifier", "logits_proj", LINEAR),)
        ),
        "XLNetForMultipleChoice": ModelClass(heads=("choice",), names=(Row("classifier", "logits_proj", LINEAR),)),
        "XLNetForTokenClassification": ModelClass(heads=("tag",)),
        "XLNetForQuestionAnsweringSimple": ModelClass(heads=("span",)),
    },
    fields=(
        Field("vocab_size", "vocab_size", 32000),
        Field("width", "d_model", 1024),
        Field("layers", "n_layer", 24),
        Field("heads", "n_head", 16),
        Field("head_dim", "d_head", None),
        Field("ffn", "d_inner", 4096),
        Field("norm_epsilon", "layer_norm_eps", 1e-12),
        Field("activation", "ff_activation", "gelu", ACTIVATIONS),
        Field("initializer_std", "initializer_range", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", True),
        # "cls_index" is the last place, too, as long as nobody gives the index.
        Field("pooling", "summary_type", "last", {"last": "last", "cls_index": "last", "first": "first"}),
    ),
    names=(
        Row("token", "{base}word_embedding", TABLE),
        Row("encoder_mask_embedding", "{base}mask_emb", _MASK),
        Row("encoder/layers/{i}/attention/query/kernel", f"{_ATTENTION}.q", HEADS_IN),
        Row("encoder/layers/{i}/attention/key/kernel", f"{_ATTENTION}.k", HEADS_IN),
        Row("encoder/layers/{i}/attention/value/kernel", f"{_ATTENTION}.v", HEADS_IN),
        Row("encoder/layers/{i}/attention/output/kernel", f"{_ATTENTION}.o", HEADS_OUT),
        Row(f"{_RELATIVE}/position_key/kernel", f"{_ATTENTION}.r", HEADS_IN),
        Row(f"{_RELATIVE}/content_bias", f"{_ATTENTION}.r_w_bias", HEADS_IN),
        Row(f"{_RELATIVE}/position_bias", f"{_ATTENTION}.r_r_bias", HEADS_IN),
        Row(f"{_RELATIVE}/segment_bias", f"{_ATTENTION}.r_s_bias", HEADS_IN),
        Row(f"{_RELATIVE}/segment_embedding", f"{_ATTENTION}.seg_embed", HEADS_IN),
        Row("encoder/layers/{i}/attention_norm", f"{_ATTENTION}.layer_norm", NORM),
        Row("encoder/layers/{i}/ffn/up", "{base}layer.{i}.ff.layer_1", LINEAR),
        Row("encoder/layers/{i}/ffn/down", "{base}layer.{i}.ff.layer_2", LINEAR),
        Row("encoder/layers/{i}/ffn_norm", "{base}layer.{i}.ff.layer_norm", NORM),
        Row("lm_head", "lm_loss", LINEAR),
        Row("pooler/dense", "sequence_summary.summary", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    fixed={
        "attn_type": ("bi",),
        "bi_data": (False,),
        "clamp_len": (-1, 0),
        "untie_r": (True,),
        "summary_proj_to_labels": (False,),
    },
    copies={"lm_loss.weight": "{base}word_embedding.weight"},
    read=_read,
    write=_write,
)
