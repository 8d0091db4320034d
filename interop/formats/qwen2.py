"""Qwen2: Llama with biases on queries, keys and values, and, if told so, a sliding window in some layers."""

from cloze.interop import patterns
from cloze.interop.format import Format
from cloze.interop.formats import llama


def read_windows(settings):
    """Which layers have a window."""
    layers, first = settings.get("num_hidden_layers", 32), settings.get("max_window_layers", 28)
    size = settings.get("sliding_window", 4096) if settings.get("use_sliding_window", False) else None
    types = settings.get("layer_types") or [patterns.SLIDING if i >= first else patterns.FULL for i in range(layers)]
    return patterns.read(types, layers, {patterns.FULL: {"window": 0}, patterns.SLIDING: {"window": size or 0}})


def write_windows(config):
    """The keys that say so."""
    types, window = patterns.types(config), patterns.window(config)
    return {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": types.count(patterns.FULL),
        "layer_types": types,
    }


FORMAT = Format(
    model_type="qwen2",
    families=("qwen2",),
    preset="7b",
    base="model.",
    classes=llama.classes("Qwen2", spans_base="transformer."),
    fields=llama.fields(
        vocab_size=151936, intermediate_size=22016, num_key_value_heads=32, max_position_embeddings=32768
    ),
    names=llama.NAMES,
    fixed=llama.FIXED,
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=lambda settings, tensors: {**llama.read(settings, tensors), **read_windows(settings)},
    write=lambda config: {**llama.write(config), **write_windows(config)},
)
