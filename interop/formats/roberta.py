"""RoBERTa.

Its positions start after the id of the padding token, so the first rows of their table stand for nothing. The head
over the vocabulary has the exact GELU, whatever the layers have.
"""

from cloze.errors import ConfigError
from cloze.interop.format import LINEAR, NORM, Format, ModelClass, Row
from cloze.interop.formats import bert

_WHOLE_ROW = {"pooler_dropout": 0.0}  # before the pooler of the body, unlike that of the classifier


def _read(settings, tensors):
    padding, rows = settings.get("pad_token_id", 1), settings.get("max_position_embeddings", 512)
    if padding is None or padding < 0:
        raise ConfigError(
            f"config.json: pad_token_id={padding!r} is not supported, expected 0 or more: RoBERTa's positions start "
            "after it"
        )
    activation = settings.get("hidden_act", "gelu")
    if "RobertaForMaskedLM" in settings["architectures"] and activation != "gelu":
        raise ConfigError(
            f"config.json: hidden_act={activation!r} is not supported, expected 'gelu': the head of RobertaForMaskedLM "
            "has it, and we compute models whose layers have the same activation"
        )
    rate = bert.classifier_dropout(settings)
    if "RobertaForMultipleChoice" in settings["architectures"]:
        rate = settings.get("hidden_dropout_prob", 0.1)
    return {
        "max_positions": rows - padding - 1,
        "position_offset": padding + 1,
        "head_dropout": rate,
        "pooler_dropout": rate,
    }


def _write(config):
    return {
        "max_position_embeddings": config.max_positions + config.position_offset,
        "pad_token_id": config.position_offset - 1,
        **bert.write_classifier_dropout(config),
    }


FORMAT = Format(
    model_type="roberta",
    families=("roberta",),
    preset="base",
    base="roberta.",
    classes={
        "RobertaForMaskedLM": ModelClass(heads=("mlm",)),
        "RobertaModel": ModelClass(heads=("pooler",), settings=_WHOLE_ROW, base=""),
        "RobertaForSequenceClassification": ModelClass(
            heads=("class",),
            names=(
                Row("pooler/dense", "classifier.dense", LINEAR),
                Row("classifier", "classifier.out_proj", LINEAR),
            ),
        ),
        "RobertaForMultipleChoice": ModelClass(heads=("choice",), settings=_WHOLE_ROW),
        "RobertaForTokenClassification": ModelClass(heads=("tag",)),
        "RobertaForQuestionAnswering": bert.SPANS,
    },
    fields=bert.fields(omitted=("max_position_embeddings",), vocab_size=50265),
    names=(
        *bert.EMBEDDINGS,
        *bert.LAYERS,
        Row("mlm_head/dense", "lm_head.dense", LINEAR),
        Row("mlm_head/norm", "lm_head.layer_norm", NORM),
        *bert.vocabulary_bias("lm_head"),
        Row("pooler/dense", "{base}pooler.dense", LINEAR),
        *bert.CLASSIFIERS,
    ),
    fixed=bert.ENCODER_ONLY,
    copies={
        "lm_head.decoder.weight": "{base}embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    ignored=(r".*\.position_ids", r"lm_head\.bias"),
    positions_skip_padding=True,
    read=_read,
    write=_write,
)
