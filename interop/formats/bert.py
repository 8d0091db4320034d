"""BERT: BertForPreTraining and its relatives."""

from cloze.interop.format import ACTIVATIONS, COPY, LINEAR, NORM, TABLE, TRANSPOSED, Field, Format, ModelClass, Row

_LAYER = "{base}encoder.layer.{i}"
_FIELDS = (
    Field("vocab_size", "vocab_size", 30522),
    Field("width", "hidden_size", 768),
    Field("layers", "num_hidden_layers", 12),
    Field("heads", "num_attention_heads", 12),
    Field("ffn", "intermediate_size", 3072),
    Field("max_positions", "max_position_embeddings", 512),
    Field("token_types", "type_vocab_size", 2),
    Field("norm_epsilon", "layer_norm_eps", 1e-12),
    Field("activation", "hidden_act", "gelu", ACTIVATIONS),
    Field("dropout", "hidden_dropout_prob", 0.1),
    Field("attention_dropout", "attention_probs_dropout_prob", 0.1),
    Field("initializer_std", "initializer_range", 0.02),
    Field("tie_embeddings", "tie_word_embeddings", True),
)
EMBEDDINGS = (
    Row("token", "{base}embeddings.word_embeddings", TABLE),
    Row("encoder_embeddings/position", "{base}embeddings.position_embeddings", TABLE),
    Row("encoder_embeddings/token_type", "{base}embeddings.token_type_embeddings", TABLE),
    Row("encoder_embeddings/norm", "{base}embeddings.LayerNorm", NORM),
)
LAYERS = (
    Row("encoder/layers/{i}/attention/query", f"{_LAYER}.attention.self.query", LINEAR),
    Row("encoder/layers/{i}/attention/key", f"{_LAYER}.attention.self.key", LINEAR),
    Row("encoder/layers/{i}/attention/value", f"{_LAYER}.attention.self.value", LINEAR),
    Row("encoder/layers/{i}/attention/output", f"{_LAYER}.attention.output.dense", LINEAR),
    Row("encoder/layers/{i}/attention_norm", f"{_LAYER}.attention.output.LayerNorm", NORM),
    Row("encoder/layers/{i}/ffn/up", f"{_LAYER}.intermediate.dense", LINEAR),
    Row("encoder/layers/{i}/ffn/down", f"{_LAYER}.output.dense", LINEAR),
    Row("encoder/layers/{i}/ffn_norm", f"{_LAYER}.output.LayerNorm", NORM),
)
CLASSIFIERS = (
    Row("classifier", "classifier", LINEAR),
    Row("tagger", "classifier", LINEAR),
    Row("span_head", "qa_outputs", LINEAR),
)
ENCODER_ONLY = {"is_decoder": (False,), "add_cross_attention": (False,), "position_embedding_type": ("absolute",)}
SPANS = ModelClass(heads=("span",), settings={"head_dropout": 0.0})  # the states are scored as they are


def fields(omitted=(), **defaults):
    """BERT's table of settings for a relative.

    Args:
        omitted: keys of config.json that are read and written in another way.
        **defaults: of keys whose default is another.
    """
    kept = (field for field in _FIELDS if field.theirs not in omitted)
    return tuple(field._replace(default=defaults.get(field.theirs, field.default)) for field in kept)


def vocabulary_bias(prefix):
    """Rows of the bias over the vocabulary, of which there are two under `prefix`.

    With a tied table they are one. Without, transformers adds the decoder's and never reads the other, which is
    therefore not written.
    """
    return (
        Row("mlm_head/bias", f"{prefix}.bias", COPY, when=lambda config: config.tie_embeddings),
        Row("mlm_head/bias", f"{prefix}.decoder.bias", COPY, when=lambda config: not config.tie_embeddings),
        Row("mlm_head/kernel", f"{prefix}.decoder.weight", TRANSPOSED),
    )


def classifier_dropout(settings):
    """The rate before a classifier: its own, or that of the states."""
    rate = settings.get("classifier_dropout")
    return settings.get("hidden_dropout_prob", 0.1) if rate is None else rate


def write_classifier_dropout(config, key="classifier_dropout"):
    """That rate under its key, for heads that have it."""
    return {key: config.head_dropout} if {"class", "choice", "tag"} & set(config.heads_out) else {}


FORMAT = Format(
    model_type="bert",
    families=("bert", "spanbert", "unilm"),
    preset="base",
    base="bert.",
    classes={
        "BertForPreTraining": ModelClass(heads=("mlm", "nsp")),
        "BertForMaskedLM": ModelClass(heads=("mlm",)),
        "BertModel": ModelClass(heads=("pooler",), base=""),
        "BertForNextSentencePrediction": ModelClass(heads=("nsp",)),
        "BertForSequenceClassification": ModelClass(heads=("class",)),
        "BertForMultipleChoice": ModelClass(heads=("choice",)),
        "BertForTokenClassification": ModelClass(heads=("tag",)),
        "BertForQuestionAnswering": SPANS,
    },
    fields=fields(),
    names=(
        *EMBEDDINGS,
        *LAYERS,
        Row("mlm_head/dense", "cls.predictions.transform.dense", LINEAR),
        Row("mlm_head/norm", "cls.predictions.transform.LayerNorm", NORM),
        *vocabulary_bias("cls.predictions"),
        Row("pooler/dense", "{base}pooler.dense", LINEAR),
        Row("nsp_head", "cls.seq_relationship", LINEAR),
        *CLASSIFIERS,
    ),
    fixed=ENCODER_ONLY,
    copies={
        "cls.predictions.decoder.weight": "{base}embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignored=(r".*\.position_ids", r"cls\.predictions\.bias"),
    read=lambda settings, tensors: {"head_dropout": classifier_dropout(settings)},
    write=write_classifier_dropout,
)
