"""Mistral: Llama with a sliding window."""

from cloze.interop import patterns
from cloze.interop.format import Format
from cloze.interop.formats import llama


def _read(settings, tensors):
    # Unlike silence, null means no window.
    return {**llama.read(settings, tensors), "window": settings.get("sliding_window", 4096) or 0}


FORMAT = Format(
    model_type="mistral",
    families=("mistral",),
    preset="7b",
    base="model.",
    classes=llama.classes("Mistral"),
    fields=llama.fields(intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072),
    names=llama.NAMES,
    fixed=llama.FIXED,
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=_read,
    write=lambda config: {**llama.write(config), "sliding_window": patterns.window(config)},
)
