"""DeBERTa, first version: DebertaForMaskedLM and its relatives.

transformers has no enhanced mask decoder, so what is read has none, and a model with one and the head that it serves is
not written (model.enhanced_decoder=0 leaves it out). Its table of positions in Microsoft's files is not read.
"""

from cloze.errors import ConfigError
from cloze.interop.format import (
    ACTIVATIONS,
    COPY,
    LINEAR,
    NORM,
    TABLE,
    TRANSPOSED,
    Field,
    Format,
    ModelClass,
    Row,
    interleaved_part,
)

_LAYER = "{base}encoder.layer.{i}"
_SELF = f"{_LAYER}.attention.self"
_KINDS = {"c2p", "p2c"}  # contents against positions, and positions against contents

FIELDS = (  # those of both versions
    Field("vocab_size", "vocab_size", 50265),
    Field("width", "hidden_size", 768),
    Field("layers", "num_hidden_layers", 12),
    Field("heads", "num_attention_heads", 12),
    Field("ffn", "intermediate_size", 3072),
    Field("max_positions", "max_position_embeddings", 512),
    Field("token_types", "type_vocab_size", 0),
    Field("norm_epsilon", "layer_norm_eps", 1e-7),
    Field("activation", "hidden_act", "gelu", ACTIVATIONS),
    Field("pooler_activation", "pooler_hidden_act", "gelu", {**ACTIVATIONS, "tanh": "tanh"}),
    Field("pooler_dropout", "pooler_dropout", 0.0),
    Field("dropout", "hidden_dropout_prob", 0.1),
    Field("attention_dropout", "attention_probs_dropout_prob", 0.1),
    Field("initializer_std", "initializer_range", 0.02),
    Field("tie_embeddings", "tie_word_embeddings", True),
)
NAMES = (  # likewise
    Row("token", "{base}embeddings.word_embeddings", TABLE),
    Row("encoder_embeddings/token_type", "{base}embeddings.token_type_embeddings", TABLE),
    Row("encoder_embeddings/norm", "{base}embeddings.LayerNorm", NORM),
    Row("encoder_relative", "{base}encoder.rel_embeddings", TABLE),
    Row("encoder/layers/{i}/attention/output", f"{_LAYER}.attention.output.dense", LINEAR),
    Row("encoder/layers/{i}/attention_norm", f"{_LAYER}.attention.output.LayerNorm", NORM),
    Row("encoder/layers/{i}/ffn/up", f"{_LAYER}.intermediate.dense", LINEAR),
    Row("encoder/layers/{i}/ffn/down", f"{_LAYER}.output.dense", LINEAR),
    Row("encoder/layers/{i}/ffn_norm", f"{_LAYER}.output.LayerNorm", NORM),
    Row("mlm_head/dense", "cls.predictions.transform.dense", LINEAR),
    Row("mlm_head/norm", "cls.predictions.transform.LayerNorm", NORM),
    # Both of the head's biases are one while it is tied; else only the decoder's is added.
    Row("mlm_head/bias", "cls.predictions.bias", COPY, when=lambda config: config.tie_embeddings),
    Row("mlm_head/bias", "cls.predictions.decoder.bias", COPY, when=lambda config: not config.tie_embeddings),
    Row("mlm_head/kernel", "cls.predictions.decoder.weight", TRANSPOSED),
    Row("pooler/dense", "pooler.dense", LINEAR),
    Row("classifier", "classifier", LINEAR),
    Row("tagger", "classifier", LINEAR),
    Row("span_head", "qa_outputs", LINEAR),
)
COPIES = {
    "cls.predictions.decoder.weight": "{base}embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    # Microsoft's files, and classes with legacy=False, name the same head so.
    "lm_predictions.lm_head.dense.weight": "cls.predictions.transform.dense.weight",
    "lm_predictions.lm_head.dense.bias": "cls.predictions.transform.dense.bias",
    "lm_predictions.lm_head.LayerNorm.weight": "cls.predictions.transform.LayerNorm.weight",
    "lm_predictions.lm_head.LayerNorm.bias": "cls.predictions.transform.LayerNorm.bias",
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
}
KEYS = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"], "legacy": True}


def read(settings, tensors):
    """What both versions say in other words than ours; ConfigError where attention is not fully disentangled."""
    kinds = settings.get("pos_att_type") or []
    kinds = [kind.strip() for kind in kinds.lower().split("|")] if isinstance(kinds, str) else list(kinds)
    # The defaults of transformers are not what any released model has.
    _expect("relative_attention", settings.get("relative_attention", False), True)
    _expect("position_biased_input", settings.get("position_biased_input", True), False)
    if sorted(kinds) != sorted(_KINDS):
        _expect("pos_att_type", kinds, sorted(_KINDS))
    width = settings.get("hidden_size", 768)
    for key in ("embedding_size", "pooler_hidden_size"):
        _expect(key, settings.get(key, width), width)
    span = settings.get("max_relative_positions", -1)
    rate = settings.get("cls_dropout")
    return {
        "relative_span": span if span >= 1 else settings.get("max_position_embeddings", 512),
        "enhanced_decoder": 0,
        "head_dropout": settings.get("hidden_dropout_prob", 0.1) if rate is None else rate,
    }


def _expect(key, found, expected):
    if found != expected:
        raise ConfigError(
            f"config.json: {key}={found!r} is not supported, expected {expected!r}: DeBERTa's attention is computed so"
        )


def write(config):
    """The keys that `read` reads."""
    return {"max_relative_positions": config.relative_span, "cls_dropout": config.head_dropout}


FORMAT = Format(
    model_type="deberta",
    families=("deberta",),
    preset="base",
    base="deberta.",
    classes={
        "DebertaForMaskedLM": ModelClass(heads=("mlm",)),
        "DebertaModel": ModelClass(base=""),
        "DebertaForSequenceClassification": ModelClass(heads=("class",)),
        "DebertaForTokenClassification": ModelClass(heads=("tag",)),
        "DebertaForQuestionAnswering": ModelClass(heads=("span",)),
    },
    fields=FIELDS,
    names=(
        *NAMES,
        Row("encoder/layers/{i}/attention/query", f"{_SELF}.in_proj", interleaved_part(0, 3)),
        Row("encoder/layers/{i}/attention/key", f"{_SELF}.in_proj", interleaved_part(1, 3)),
        Row("encoder/layers/{i}/attention/value", f"{_SELF}.in_proj", interleaved_part(2, 3)),
        Row("encoder/layers/{i}/attention/query/bias", f"{_SELF}.q_bias", COPY),
        Row("encoder/layers/{i}/attention/value/bias", f"{_SELF}.v_bias", COPY),
        Row("encoder/layers/{i}/attention/relative/position_key", f"{_SELF}.pos_proj", LINEAR),
        Row("encoder/layers/{i}/attention/relative/position_query", f"{_SELF}.pos_q_proj", LINEAR),
    ),
    fixed={"talking_head": (False,)},
    keys=KEYS,
    copies=COPIES,
    ignored=(r".*\.position_ids",),
    read=read,
    write=write,
)
