"""ALBERT. Between embeddings and layers there is always a projection, even where it changes no size."""

import functools

from cloze.errors import ConfigError
from cloze.interop.format import LINEAR, NORM, Field, Format, ModelClass, Row
from cloze.interop.formats import bert

_LAYER = "{base}encoder.albert_layer_groups.0.albert_layers.0"


def _read(settings, tensors):
    narrow, width = settings.get("embedding_size", 128), settings.get("hidden_size", 4096)
    if narrow == width:
        raise ConfigError(
            f"config.json: embedding_size={narrow} equal to hidden_size is not supported: ALBERT projects embeddings "
            "even then, our models only between different sizes"
        )
    rate = settings.get("classifier_dropout_prob", 0.1)
    return {"head_dropout": settings.get("hidden_dropout_prob", 0.0) if rate is None else rate}


FORMAT = Format(
    model_type="albert",
    families=("albert",),
    preset="xxlarge",
    base="albert.",
    classes={
        "AlbertForPreTraining": ModelClass(heads=("mlm", "nsp")),
        "AlbertForMaskedLM": ModelClass(heads=("mlm",)),
        "AlbertModel": ModelClass(heads=("pooler",), base=""),
        "AlbertForSequenceClassification": ModelClass(heads=("class",)),
        "AlbertForMultipleChoice": ModelClass(heads=("choice",)),
        "AlbertForTokenClassification": ModelClass(heads=("tag",)),
        "AlbertForQuestionAnswering": bert.SPANS,
    },
    fields=(
        Field("embedding_width", "embedding_size", 128),
        *bert.fields(
            vocab_size=30000,
            hidden_size=4096,
            num_attention_heads=64,
            intermediate_size=16384,
            hidden_act="gelu_new",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
    ),
    names=(
        *bert.EMBEDDINGS,
        Row("encoder_embeddings/projection", "{base}encoder.embedding_hidden_mapping_in", LINEAR),
        Row("encoder/layers/{i}/attention/query", f"{_LAYER}.attention.query", LINEAR),
        Row("encoder/layers/{i}/attention/key", f"{_LAYER}.attention.key", LINEAR),
        Row("encoder/layers/{i}/attention/value", f"{_LAYER}.attention.value", LINEAR),
        Row("encoder/layers/{i}/attention/output", f"{_LAYER}.attention.dense", LINEAR),
        Row("encoder/layers/{i}/attention_norm", f"{_LAYER}.attention.LayerNorm", NORM),
        Row("encoder/layers/{i}/ffn/up", f"{_LAYER}.ffn", LINEAR),
        Row("encoder/layers/{i}/ffn/down", f"{_LAYER}.ffn_output", LINEAR),
        Row("encoder/layers/{i}/ffn_norm", f"{_LAYER}.full_layer_layer_norm", NORM),
        Row("mlm_head/dense", "predictions.dense", LINEAR),
        Row("mlm_head/norm", "predictions.LayerNorm", NORM),
        *bert.vocabulary_bias("predictions"),
        Row("pooler/dense", "{base}pooler", LINEAR),
        Row("nsp_head", "sop_classifier.classifier", LINEAR),
        *bert.CLASSIFIERS,
    ),
    fixed={"num_hidden_groups": (1,), "inner_group_num": (1,), "position_embedding_type": ("absolute",)},
    copies={
        "predictions.decoder.weight": "{base}embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    ignored=(r".*\.position_ids", r"predictions\.bias"),
    read=_read,
    write=functools.partial(bert.write_classifier_dropout, key="classifier_dropout_prob"),
)
