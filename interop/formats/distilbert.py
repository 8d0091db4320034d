"""DistilBERT. `sinusoidal_pos_embds` says what the table of positions started from, and nothing of what is computed."""

from cloze.interop.format import ACTIVATIONS, COPY, LINEAR, NORM, TABLE, TRANSPOSED, Field, Format, ModelClass, Row
from cloze.interop.formats import bert

_LAYER = "{base}transformer.layer.{i}"
_HEAD_DROPOUT = {  # head: (key of the rate before its last layer, default)
    "class": ("seq_classif_dropout", 0.2),
    "choice": ("seq_classif_dropout", 0.2),
    "span": ("qa_dropout", 0.1),
    "tag": ("dropout", 0.1),
}


def _read(settings, tensors):
    named = (name for name in settings["architectures"] if name in FORMAT.classes)
    heads = FORMAT.classes[next(named)].heads
    # Where the class has no such head, the rate is for a classifier that is put on its body.
    head = next((head for head in heads if head in _HEAD_DROPOUT), "class")
    return {"head_dropout": settings.get(*_HEAD_DROPOUT[head])}


def _write(config):
    keys = {_HEAD_DROPOUT[head][0] for head in config.heads_out if head in _HEAD_DROPOUT}
    return dict.fromkeys(keys - {"dropout"}, config.head_dropout)


FORMAT = Format(
    model_type="distilbert",
    families=("distilbert",),
    preset="base",
    base="distilbert.",
    classes={
        "DistilBertForMaskedLM": ModelClass(heads=("mlm",)),
        "DistilBertModel": ModelClass(base=""),
        "DistilBertForSequenceClassification": ModelClass(heads=("class",)),
        "DistilBertForMultipleChoice": ModelClass(heads=("choice",)),
        "DistilBertForTokenClassification": ModelClass(heads=("tag",)),
        "DistilBertForQuestionAnswering": ModelClass(heads=("span",)),
    },
    fields=(
        Field("vocab_size", "vocab_size", 30522),
        Field("width", "dim", 768),
        Field("layers", "n_layers", 6),
        Field("heads", "n_heads", 12),
        Field("ffn", "hidden_dim", 3072),
        Field("max_positions", "max_position_embeddings", 512),
        Field("activation", "activation", "gelu", ACTIVATIONS),
        Field("dropout", "dropout", 0.1),
        Field("attention_dropout", "attention_dropout", 0.1),
        Field("initializer_std", "initializer_range", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", True),
    ),
    names=(
        Row("token", "{base}embeddings.word_embeddings", TABLE),
        Row("encoder_embeddings/position", "{base}embeddings.position_embeddings", TABLE),
        Row("encoder_embeddings/norm", "{base}embeddings.LayerNorm", NORM),
        Row("encoder/layers/{i}/attention/query", f"{_LAYER}.attention.q_lin", LINEAR),
        Row("encoder/layers/{i}/attention/key", f"{_LAYER}.attention.k_lin", LINEAR),
        Row("encoder/layers/{i}/attention/value", f"{_LAYER}.attention.v_lin", LINEAR),
        Row("encoder/layers/{i}/attention/output", f"{_LAYER}.attention.out_lin", LINEAR),
        Row("encoder/layers/{i}/attention_norm", f"{_LAYER}.sa_layer_norm", NORM),
        Row("encoder/layers/{i}/ffn/up", f"{_LAYER}.ffn.lin1", LINEAR),
        Row("encoder/layers/{i}/ffn/down", f"{_LAYER}.ffn.lin2", LINEAR),
        Row("encoder/layers/{i}/ffn_norm", f"{_LAYER}.output_layer_norm", NORM),
        Row("mlm_head/dense", "vocab_transform", LINEAR),
        Row("mlm_head/norm", "vocab_layer_norm", NORM),
        Row("mlm_head/bias", "vocab_projector.bias", COPY),
        Row("mlm_head/kernel", "vocab_projector.weight", TRANSPOSED),
        Row("pooler/dense", "pre_classifier", LINEAR),
        *bert.CLASSIFIERS,
    ),
    copies={"vocab_projector.weight": "{base}embeddings.word_embeddings.weight"},
    ignored=(r".*\.position_ids",),
    read=_read,
    write=_write,
)
