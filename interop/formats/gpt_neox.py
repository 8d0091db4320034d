"""GPT-NeoX and Pythia: one matrix for queries, keys and values, interleaved by head.

transformers 5 calls the vocabulary head `lm_head` and still writes `embed_out`, as the released files do; both are
read. It keeps the rotary settings in `rope_parameters`, where older files have `rotary_pct` and `rotary_emb_base`.
"""

from cloze.interop.format import ACTIVATIONS, LINEAR, NORM, TABLE, Field, Format, ModelClass, Row, interleaved_part
from cloze.interop.formats import gpt2, llama

_LAYER = "{base}layers.{i}"


def _read(settings, tensors):
    rotary = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    return {
        **llama.read_rotary({"rope_theta": settings.get("rotary_emb_base"), **rotary}, settings),
        "rotary_share": rotary.get("partial_rotary_factor", settings.get("rotary_pct", 0.25)),
        "attention_bias": "" if settings.get("attention_bias", True) else "none",
        **gpt2.head_dropout(settings),
    }


def _write(config):
    rotary, share = llama.write_rotary(config.scheme), config.rotary_share
    return {
        "rope_parameters": {**rotary, "partial_rotary_factor": share},
        "rotary_emb_base": rotary["rope_theta"],
        "rotary_pct": share,
        "attention_bias": config.projection_bias("q"),
        **gpt2.write_head_dropout(config),
    }


FORMAT = Format(
    model_type="gpt_neox",
    families=("pythia",),
    preset="160m",
    base="gpt_neox.",
    classes={
        "GPTNeoXForCausalLM": ModelClass(heads=("lm",)),
        "GPTNeoXModel": ModelClass(base=""),
        "GPTNeoXForSequenceClassification": ModelClass(heads=("class",), settings=gpt2.LAST_TOKEN),
        "GPTNeoXForTokenClassification": ModelClass(heads=("tag",)),
        "GPTNeoXForQuestionAnswering": ModelClass(heads=("span",), settings=gpt2.SPANS),
    },
    fields=(
        Field("vocab_size", "vocab_size", 50432),
        Field("width", "hidden_size", 6144),
        Field("layers", "num_hidden_layers", 44),
        Field("heads", "num_attention_heads", 64),
        Field("ffn", "intermediate_size", 24576),
        Field("max_positions", "max_position_embeddings", 2048),
        Field("norm_position", "use_parallel_residual", True, {True: "parallel", False: "pre"}),
        Field("norm_epsilon", "layer_norm_eps", 1e-5),
        Field("activation", "hidden_act", "gelu", ACTIVATIONS),
        Field("dropout", "hidden_dropout", 0.0),
        Field("attention_dropout", "attention_dropout", 0.0),
        Field("initializer_std", "initializer_range", 0.02),
        Field("tie_embeddings", "tie_word_embeddings", False),
    ),
    names=(
        Row("token", "{base}embed_in", TABLE),
        Row("decoder/layers/{i}/attention_norm", f"{_LAYER}.input_layernorm", NORM),
        *(
            Row(
                f"decoder/layers/{{i}}/attention/{name}",
                f"{_LAYER}.attention.query_key_value",
                interleaved_part(part, 3, use_bias=True),
            )
            for part, name in enumerate(("query", "key", "value"))
        ),
        Row("decoder/layers/{i}/attention/output", f"{_LAYER}.attention.dense", LINEAR),
        Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.post_attention_layernorm", NORM),
        Row("decoder/layers/{i}/ffn/up", f"{_LAYER}.mlp.dense_h_to_4h", LINEAR),
        Row("decoder/layers/{i}/ffn/down", f"{_LAYER}.mlp.dense_4h_to_h", LINEAR),
        Row("decoder/final_norm", "{base}final_layer_norm", NORM),
        Row("lm_head", "embed_out", LINEAR),
        Row("classifier", "score", LINEAR),
        Row("tagger", "classifier", LINEAR),
        Row("span_head", "qa_outputs", LINEAR),
    ),
    copies={"embed_out.weight": "{base}embed_in.weight", "lm_head.weight": "embed_out.weight"},
    ignored=(r".*\.attention\.(bias|masked_bias)", *llama.IGNORED),
    read=_read,
    write=_write,
)
