"""ELECTRA: the discriminator as ElectraForPreTraining, the generator as ElectraForMaskedLM.

The heads over the vocabulary and for classification have the exact GELU, whatever the layers have. Multiple choice has
a head of another kind, whose settings begin with `summary_`.
"""

from cloze.errors import ConfigError
from cloze.interop.format import COPY, LINEAR, NORM, TRANSPOSED, Field, Format, ModelClass, Row
from cloze.interop.formats import bert

_SUMMARY_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def _refuse(key, value, expected, why):
    raise ConfigError(f"config.json: {key}={value!r} is not supported, expected {expected}: {why}")


def _read(settings, tensors):
    activation = settings.get("hidden_act", "gelu")
    if "ElectraForMaskedLM" in settings["architectures"] and activation != "gelu":
        why = "the head of ElectraForMaskedLM has it, and we compute models whose layers have the same activation"
        _refuse("hidden_act", activation, "'gelu'", why)
    if "ElectraForMultipleChoice" in settings["architectures"]:
        return _read_summary(settings)
    rate = bert.classifier_dropout(settings)
    return {"head_dropout": rate, "pooler_dropout": rate, "pooler_activation": "gelu"}


def _read_summary(settings):
    for key, expected in (("summary_type", "first"), ("summary_use_proj", True)):
        if settings.get(key, expected) != expected:
            why = "our multiple choice scores a dense layer over the first state"
            _refuse(key, settings[key], repr(expected), why)
    activation = settings.get("summary_activation", "gelu")
    if activation not in _SUMMARY_ACTIVATIONS:
        _refuse("summary_activation", activation, f"one of {', '.join(_SUMMARY_ACTIVATIONS)}", "we have no other")
    return {
        "pooler_activation": _SUMMARY_ACTIVATIONS[activation],
        "pooler_dropout": settings.get("summary_first_dropout", 0.0),
        "head_dropout": settings.get("summary_last_dropout", 0.1),
    }


def _write(config):
    if "choice" not in config.heads_out:
        return bert.write_classifier_dropout(config)
    names = {ours: theirs for theirs, ours in reversed(_SUMMARY_ACTIVATIONS.items())}
    return {
        "summary_activation": names.get(config.pooler_activation),
        "summary_first_dropout": config.pooler_dropout,
        "summary_last_dropout": config.head_dropout,
    }


FORMAT = Format(
    model_type="electra",
    families=("electra",),
    preset="small",
    base="electra.",
    classes={
        "ElectraForPreTraining": ModelClass(heads=("rtd",)),
        "ElectraForMaskedLM": ModelClass(heads=("mlm",)),
        "ElectraModel": ModelClass(base=""),
        "ElectraForSequenceClassification": ModelClass(
            heads=("class",),
            names=(
                Row("pooler/dense", "classifier.dense", LINEAR),
                Row("classifier", "classifier.out_proj", LINEAR),
            ),
        ),
        "ElectraForMultipleChoice": ModelClass(heads=("choice",)),
        "ElectraForTokenClassification": ModelClass(heads=("tag",)),
        "ElectraForQuestionAnswering": bert.SPANS,
    },
    fields=(
        Field("embedding_width", "embedding_size", 128),
        *bert.fields(hidden_size=256, num_attention_heads=4, intermediate_size=1024),
    ),
    names=(
        *bert.EMBEDDINGS,
        Row("encoder_embeddings/projection", "{base}embeddings_project", LINEAR),
        *bert.LAYERS,
        Row("rtd_head/dense", "discriminator_predictions.dense", LINEAR),
        Row("rtd_head/output", "discriminator_predictions.dense_prediction", LINEAR),
        Row("mlm_head/dense", "generator_predictions.dense", LINEAR),
        Row("mlm_head/norm", "generator_predictions.LayerNorm", NORM),
        Row("mlm_head/bias", "generator_lm_head.bias", COPY),
        Row("mlm_head/kernel", "generator_lm_head.weight", TRANSPOSED),
        Row("pooler/dense", "sequence_summary.summary", LINEAR),
        *bert.CLASSIFIERS,
    ),
    fixed=bert.ENCODER_ONLY,
    copies={"generator_lm_head.weight": "{base}embeddings.word_embeddings.weight"},
    ignored=(r".*\.position_ids",),
    read=_read,
    write=_write,
)
