"""FlauBERT: FlaubertWithLMHeadModel and its relatives.

FlaubertForMultipleChoice is not among them: it puts a second linear map on the classes of the first, which no head of
ours does. Token types are not read either: transformers would look them up among the words.
"""

from cloze.interop.format import LINEAR, NORM, TABLE, Field, Format, ModelClass, Row

_ATTENTION, _FFN = "{base}attentions.{i}", "{base}ffns.{i}"


def _read(settings, tensors):
    return {
        "ffn": 4 * settings.get("emb_dim", 2048),
        "pooler_dropout": settings.get("summary_first_dropout", 0.1),
        "head_dropout": settings.get("summary_last_dropout", 0.0),
    }


FORMAT = Format(
    model_type="flaubert",
    families=("flaubert",),
    preset="base_cased",
    base="transformer.",
    classes={
        "FlaubertWithLMHeadModel": ModelClass(heads=("mlm",)),
        "FlaubertModel": ModelClass(base=""),
        "FlaubertForSequenceClassification": ModelClass(heads=("class",)),
        "FlaubertForTokenClassification": ModelClass(heads=("tag",)),
        "FlaubertForQuestionAnsweringSimple": ModelClass(heads=("span",)),
    },
    fields=(
        Field("vocab_size", "vocab_size", 30145),
        Field("width", "emb_dim", 2048),
        Field("layers", "n_layers", 12),
        Field("heads", "n_heads", 16),
        Field("max_positions", "max_position_embeddings", 512),
        Field("norm_epsilon", "layer_norm_eps", 1e-12),
        Field("norm_position", "pre_norm", False, {False: "post", True: "pre"}),
        Field("activation", "gelu_activation", True, {True: "gelu", False: "relu"}),
        Field("dropout", "dropout", 0.1),
        Field("attention_dropout", "attention_dropout", 0.1),
        Field("initializer_std", "init_std", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", True),
        Field("pooling", "summary_type", "first", {"first": "first", "last": "last", "cls_index": "last"}),
    ),
    names=(
        Row("token", "{base}embeddings", TABLE),
        Row("encoder_embeddings/position", "{base}position_embeddings", TABLE),
        Row("encoder_embeddings/norm", "{base}layer_norm_emb", NORM),
        Row("encoder/layers/{i}/attention/query", f"{_ATTENTION}.q_lin", LINEAR),
        Row("encoder/layers/{i}/attention/key", f"{_ATTENTION}.k_lin", LINEAR),
        Row("encoder/layers/{i}/attention/value", f"{_ATTENTION}.v_lin", LINEAR),
        Row("encoder/layers/{i}/attention/output", f"{_ATTENTION}.out_lin", LINEAR),
        Row("encoder/layers/{i}/attention_norm", "{base}layer_norm1.{i}", NORM),
        Row("encoder/layers/{i}/ffn/up", f"{_FFN}.lin1", LINEAR),
        Row("encoder/layers/{i}/ffn/down", f"{_FFN}.lin2", LINEAR),
        Row("encoder/layers/{i}/ffn_norm", "{base}layer_norm2.{i}", NORM),
        Row("mlm_head", "pred_layer.proj", LINEAR),
        Row("classifier", "sequence_summary.summary", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    fixed={
        "asm": (False,),
        "causal": (False,),
        "is_encoder": (True,),
        "n_langs": (1,),
        "summary_use_proj": (True,),
        "summary_proj_to_labels": (True,),
        "summary_activation": (None,),
    },
    copies={"pred_layer.proj.weight": "{base}embeddings.weight"},
    ignored=(r".*position_ids",),
    read=_read,
    write=lambda config: {
        "summary_first_dropout": config.pooler_dropout,
        "summary_last_dropout": config.head_dropout,
    },
)
