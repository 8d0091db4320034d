"""Qwen2 (Yang et al. 2024, arXiv:2407.10671): Llama with biases on queries, keys and values."""

from cloze.models.families.llama import LLAMA

_QWEN2 = dict(
    LLAMA, max_positions=32768, rope_theta=1000000.0, norm_epsilon=1e-6, attention_bias="qkv", tie_embeddings=True
)

PRESETS = {
    "0.5b": dict(_QWEN2, vocab_size=151936, layers=24, width=896, heads=14, kv_heads=2, ffn=4864),
    "1.5b": dict(_QWEN2, vocab_size=151936, layers=28, width=1536, heads=12, kv_heads=2, ffn=8960),
    "7b": dict(_QWEN2, vocab_size=152064, layers=28, width=3584, heads=28, kv_heads=4, ffn=18944, tie_embeddings=False),
}
