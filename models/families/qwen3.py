"""Qwen3's dense models (Yang et al. 2025, arXiv:2505.09388): Qwen2 with query-key norms in place of biases."""

from cloze.models.families.llama import LLAMA

_QWEN3 = dict(
    LLAMA,
    vocab_size=151936,
    max_positions=40960,
    rope_theta=1000000.0,
    norm_epsilon=1e-6,
    query_key_norm="head",
    head_dim=128,
    kv_heads=8,
    tie_embeddings=True,
)

PRESETS = {
    "0.6b": dict(_QWEN3, layers=28, width=1024, heads=16, ffn=3072),
    "1.7b": dict(_QWEN3, layers=28, width=2048, heads=16, ffn=6144),
    "4b": dict(_QWEN3, layers=36, width=2560, heads=32, ffn=9728),
    "8b": dict(_QWEN3, layers=36, width=4096, heads=32, ffn=12288, tie_embeddings=False),
}
