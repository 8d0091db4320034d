"""GPT-2, and GPT-3 in its dense form.

GPT2ForSequenceClassification finds the last token of a row by the id of the padding token, we by the mask.
"""

from cloze.errors import ConfigError
from cloze.interop.format import (
    ACTIVATIONS,
    CONV1D,
    LINEAR,
    NORM,
    TABLE,
    Field,
    Format,
    ModelClass,
    Row,
    conv1d_part,
)  # fmt: skip

_LAYER = "{base}h.{i}"
# The classes of a decoder: of its last token without a bias, and of spans from the states as they are.
LAST_TOKEN = {"pooling": "last", "pooler_activation": "none", "classifier_bias": False, "head_dropout": 0.0}
SPANS = {"head_dropout": 0.0}
_SUMMARY = {  # what the choices of a DoubleHeads class have: one linear map over the token that mc_token_ids names
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "summary_proj_to_labels": True,
    "summary_activation": None,
    "summary_last_dropout": 0,
}


def head_dropout(settings):
    """The rate before the last layer of the class that config.json names, where config.json has one; else nothing.

    Raises:
        ConfigError: the choices of a DoubleHeads class are scored in a way that we do not compute.
    """
    if any(name.endswith("ForTokenClassification") for name in settings["architectures"]):
        rates = (settings.get(key) for key in ("classifier_dropout", "hidden_dropout"))
        return {"head_dropout": next((rate for rate in rates if rate is not None), 0.1)}
    if not any(name.endswith("DoubleHeadsModel") for name in settings["architectures"]):
        return {}
    for key, expected in _SUMMARY.items():
        if settings.get(key, expected) != expected:
            raise ConfigError(
                f"config.json: {key}={settings[key]!r} is not supported, expected {expected!r}: our choices are scored "
                "by one linear map over the token that stands for the row"
            )
    return {"head_dropout": settings.get("summary_first_dropout", 0.1)}


def write_head_dropout(config):
    """The key of that rate."""
    if "choice" in config.heads_out:
        return {"summary_first_dropout": config.head_dropout}
    return {"classifier_dropout": config.head_dropout} if "tag" in config.heads_out else {}


def _read(settings, tensors):
    ffn = settings.get("n_inner") or 4 * settings.get("n_embd", 768)
    return {"ffn": ffn, **head_dropout(settings)}


FORMAT = Format(
    model_type="gpt2",
    families=("gpt2", "gpt3"),
    preset="small",
    base="transformer.",
    classes={
        "GPT2LMHeadModel": ModelClass(heads=("lm",)),
        "GPT2DoubleHeadsModel": ModelClass(
            heads=("lm", "choice"), names=(Row("classifier", "multiple_choice_head.summary", LINEAR),)
        ),
        "GPT2Model": ModelClass(base=""),
        "GPT2ForSequenceClassification": ModelClass(
            heads=("class",), settings=LAST_TOKEN, names=(Row("classifier", "score", LINEAR),)
        ),
        "GPT2ForTokenClassification": ModelClass(heads=("tag",)),
        "GPT2ForQuestionAnswering": ModelClass(heads=("span",), settings=SPANS),
    },
    fields=(
        Field("vocab_size", "vocab_size", 50257),
        Field("width", "n_embd", 768),
        Field("layers", "n_layer", 12),
        Field("heads", "n_head", 12),
        Field("max_positions", "n_positions", 1024),
        Field("norm_epsilon", "layer_norm_epsilon", 1e-5),
        Field("activation", "activation_function", "gelu_new", ACTIVATIONS),
        Field("dropout", "resid_pdrop", 0.1),
        Field("attention_dropout", "attn_pdrop", 0.1),
        Field("initializer_std", "initializer_range", 0.02),
        Field("scale_attention", "scale_attn_weights", True),
        Field("tie_embeddings", "tie_word_embeddings", True),
    ),
    names=(
        Row("token", "{base}wte", TABLE),
        Row("decoder_embeddings/position", "{base}wpe", TABLE),
        Row("decoder/layers/{i}/attention_norm", f"{_LAYER}.ln_1", NORM),
        Row("decoder/layers/{i}/attention/query", f"{_LAYER}.attn.c_attn", conv1d_part(0, 3)),
        Row("decoder/layers/{i}/attention/key", f"{_LAYER}.attn.c_attn", conv1d_part(1, 3)),
        Row("decoder/layers/{i}/attention/value", f"{_LAYER}.attn.c_attn", conv1d_part(2, 3)),
        Row("decoder/layers/{i}/attention/output", f"{_LAYER}.attn.c_proj", CONV1D),
        Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.ln_2", NORM),
        Row("decoder/layers/{i}/ffn/up", f"{_LAYER}.mlp.c_fc", CONV1D),
        Row("decoder/layers/{i}/ffn/down", f"{_LAYER}.mlp.c_proj", CONV1D),
        Row("decoder/final_norm", "{base}ln_f", NORM),
        Row("lm_head", "lm_head", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    fixed={"scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,)},
    copies={"lm_head.weight": "{base}wte.weight"},
    ignored=(r".*\.attn\.(bias|masked_bias)",),
    positions_skip_padding=True,
    read=_read,
    write=lambda config: {"n_inner": config.ffn, "embd_pdrop": config.dropout, **write_head_dropout(config)},
)
