"""Qwen2: Llama with biases on queries, keys and values, and, if told so, a sliding window in some layers."""

from cloze.errors import ConfigError
from cloze.interop.format import Format
from cloze.interop.formats import llama

_FULL, _SLIDING = "full_attention", "sliding_attention"


def _layer_types(config):
    """What each layer is."""
    return [_SLIDING if config.block(i).window else _FULL for i in range(config.layers)]


def _read(settings, tensors):
    made = {**llama.read(settings, tensors), "window": 0, "pattern": ()}
    window = settings.get("sliding_window", 4096)
    if not settings.get("use_sliding_window", False) or window is None:
        return made
    layers, first = settings.get("num_hidden_layers", 32), settings.get("max_window_layers", 28)
    types = settings.get("layer_types") or [_SLIDING if i >= first else _FULL for i in range(layers)]
    if set(types) == {_FULL}:
        return made
    if set(types) == {_SLIDING}:
        return made | {"window": window}
    if types == [_SLIDING if i % 2 else _FULL for i in range(layers)]:
        return made | {"pattern": ({}, {"window": window})}
    raise ConfigError(
        f"config.json: layer_types={types} (from max_window_layers={first} where not given) is not supported, expected "
        f"all {_FULL}, all {_SLIDING}, or {_FULL} and {_SLIDING} in turn"
    )


def _write(config):
    types = _layer_types(config)
    windows = [config.block(i).window for i in range(config.layers)]
    return {
        **llama.write(config),
        "use_sliding_window": any(windows),
        "sliding_window": max(windows) or None,
        "max_window_layers": types.count(_FULL),
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
    read=_read,
    write=_write,
)
