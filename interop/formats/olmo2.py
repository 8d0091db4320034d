"""OLMo 2: Llama with its norms on what sublayers give, and norms over all queries and over all keys of a token."""

from cloze.interop.format import NORM, Format, Row
from cloze.interop.formats import llama

_LAYER = "{base}layers.{i}"

FORMAT = Format(
    model_type="olmo2",
    families=("olmo2",),
    preset="7b",
    base="model.",
    classes=llama.classes("Olmo2", without=("tag", "span")),
    fields=llama.fields(vocab_size=50304, rms_norm_eps=1e-5),
    names=llama.names(
        Row("decoder/layers/{i}/attention_norm", f"{_LAYER}.post_attention_layernorm", NORM),
        Row("decoder/layers/{i}/ffn_norm", f"{_LAYER}.post_feedforward_layernorm", NORM),
        *llama.QUERY_KEY_NORMS,
    ),
    fixed=llama.FIXED,
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=lambda settings, tensors: {**llama.read(settings, tensors), **llama.read_biases(settings)},
    write=lambda config: {**llama.write(config), "attention_bias": config.projection_bias("q")},
)
