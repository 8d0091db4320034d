"""Mistral 7B (Jiang et al. 2023, arXiv:2310.06825): Llama with grouped heads and a sliding window."""

from cloze.models.families.llama import LLAMA

PRESETS = {
    "7b": dict(
        LLAMA,
        vocab_size=32000,
        max_positions=32768,
        layers=32,
        width=4096,
        heads=32,
        kv_heads=8,
        ffn=14336,
        window=4096,
    ),
}
