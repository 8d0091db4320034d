"""GPT-1. Its "gelu" has always been the tanh form, and its feed-forward is four times as wide as its states.

Classes of rows and choices are as in GPT-2.
"""

from cloze.interop.format import CONV1D, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row, conv1d_part
from cloze.interop.formats import gpt2

_LAYER = "{base}h.{i}"


def _read(settings, tensors):
    return {"ffn": 4 * settings.get("n_embd", 768), **gpt2.head_dropout(settings)}


FORMAT = Format(
    model_type="openai-gpt",
    families=("gpt1",),
    preset="base",
    base="transformer.",
    classes={
        "OpenAIGPTLMHeadModel": ModelClass(heads=("lm",)),
        "OpenAIGPTDoubleHeadsModel": ModelClass(
            heads=("lm", "choice"),
            names=(
                Row("classifier", "multiple_choice_head.summary", LINEAR),
                # A tied table goes by the head's name here.
                Row("token", "lm_head", TABLE, when=lambda config: config.tie_embeddings),
                Row("token", "{base}tokens_embed", TABLE, when=lambda config: not config.tie_embeddings),
            ),
        ),
        "OpenAIGPTModel": ModelClass(base=""),
        "OpenAIGPTForSequenceClassification": ModelClass(
            heads=("class",), settings=gpt2.LAST_TOKEN, names=(Row("classifier", "score", LINEAR),)
        ),
    },
    fields=(
        Field("vocab_size", "vocab_size", 40478),
        Field("width", "n_embd", 768),
        Field("layers", "n_layer", 12),
        Field("heads", "n_head", 12),
        Field("max_positions", "n_positions", 512),
        Field("norm_epsilon", "layer_norm_epsilon", 1e-5),
        Field("activation", "afn", "gelu", {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}),
        Field("dropout", "resid_pdrop", 0.1),
        Field("attention_dropout", "attn_pdrop", 0.1),
        Field("initializer_std", "initializer_range", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", True),
    ),
    names=(
        Row("token", "{base}tokens_embed", TABLE),
        Row("decoder_embeddings/position", "{base}positions_embed", TABLE),
        Row("decoder/layers/{i}/attention/query", f"{_LAYER}.attn.c_attn", conv1d_part(0, 3)),
        Row("decoder/layers/{i}/attention/key", f"{_LAYER}.attn.c_attn", conv1d_part(1, 3)),
        Row("decoder/layers/{i}/attention/value", f"{_LAYER}.attn.c_attn", conv1d_part(2, 3)),
        Row("decoder/layers/{i}/attention/output", f"{_LAYER}.attn.c_proj", CONV1D),
        Row("decoder/layers/{i}/attention_norm", f"{_LAYER}.ln_1", NORM),
        Row("decoder/layers/{i}/ffn/up", f"{_LAYER}.mlp.c_fc", CONV1D),
        Row("decoder/layers/{i}/ffn/down", f"{_LAYER}.mlp.c_proj", CONV1D),
        Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.ln_2", NORM),
        Row("lm_head", "lm_head", LINEAR),
    ),
    copies={
        "lm_head.weight": "{base}tokens_embed.weight",
        "{base}tokens_embed.weight": "lm_head.weight",
    },
    ignored=(r".*\.attn\.bias", r".*position_ids"),
    positions_skip_padding=True,
    read=_read,
    write=lambda config: {"embd_pdrop": config.dropout, **gpt2.write_head_dropout(config)},
)
