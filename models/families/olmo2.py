"""OLMo 2 (OLMo team 2024, arXiv:2501.00656): Llama with norms on what sublayers give, and on queries and keys."""

from cloze.models.families.llama import LLAMA

_OLMO2 = dict(
    LLAMA,
    vocab_size=100352,
    max_positions=4096,
    rope_theta=500000.0,
    norm_position="output",
    norm_epsilon=1e-6,
    query_key_norm="all",
)

PRESETS = {
    "1b": dict(_OLMO2, layers=16, width=2048, heads=16, ffn=8192),
    "7b": dict(_OLMO2, layers=32, width=4096, heads=32, ffn=11008),
    "13b": dict(_OLMO2, layers=40, width=5120, heads=40, ffn=13824),
}
