"""Qwen3: Qwen2 with norms on the queries and keys of each head, and biases on all projections of attention or none."""

from cloze.interop.format import Format
from cloze.interop.formats import llama, qwen2


def _read(settings, tensors):
    return {**llama.read(settings, tensors), **llama.read_biases(settings), **qwen2.read_windows(settings)}


FORMAT = Format(
    model_type="qwen3",
    families=("qwen3",),
    preset="8b",
    base="model.",
    classes=llama.classes("Qwen3", spans_base="transformer."),
    fields=llama.fields(
        vocab_size=151936, intermediate_size=22016, num_key_value_heads=32, head_dim=128, max_position_embeddings=32768
    ),
    names=(*llama.NAMES, *llama.QUERY_KEY_NORMS),
    fixed=llama.FIXED,
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=_read,
    write=lambda config: {
        **llama.write(config),
        **qwen2.write_windows(config),
        "attention_bias": config.projection_bias("q"),
    },
)
