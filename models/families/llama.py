"""Llama 1 and 2 (Touvron et al. 2023, arXiv:2302.13971, 2307.09288), 3, 3.1 and 3.2 (Dubey et al. 2024, 2407.21783)."""

LLAMA = dict(
    architecture="decoder",
    positions="rotary",
    rope_theta=10000.0,
    norm="rms",
    norm_position="pre",
    norm_epsilon=1e-5,
    final_norm=True,
    activation="silu",
    gated=True,
    use_bias=False,
    tie_embeddings=False,
    initializer="normal",
    initializer_std=0.02,
    dropout=0.0,
    attention_dropout=0.0,
    pooling="last",
    pooler_activation="none",
    head_dropout=0.0,
    classifier_bias=False,
    heads_out=("lm",),
)
_V1 = dict(LLAMA, vocab_size=32000, max_positions=2048, norm_epsilon=1e-6)
_V2 = dict(LLAMA, vocab_size=32000, max_positions=4096)
_V3 = dict(LLAMA, vocab_size=128256, max_positions=8192, rope_theta=500000.0)
_V3_1 = dict(_V3, max_positions=131072, rope_scaling=(8.0, 1.0, 4.0, 8192.0))
_V3_2 = dict(_V3_1, rope_scaling=(32.0, 1.0, 4.0, 8192.0), tie_embeddings=True)
_7B = dict(layers=32, width=4096, heads=32, ffn=11008)
_13B = dict(layers=40, width=5120, heads=40, ffn=13824)
_8B = dict(layers=32, width=4096, heads=32, kv_heads=8, ffn=14336)
_70B = dict(layers=80, width=8192, heads=64, kv_heads=8, ffn=28672)

PRESETS = {
    "1_7b": _V1 | _7B,
    "1_13b": _V1 | _13B,
    "1_33b": dict(_V1, layers=60, width=6656, heads=52, ffn=17920),
    "1_65b": dict(_V1, layers=80, width=8192, heads=64, ffn=22016),
    "2_7b": _V2 | _7B,
    "2_13b": _V2 | _13B,
    "2_70b": _V2 | _70B,
    "3_8b": _V3 | _8B,
    "3_70b": _V3 | _70B,
    "3.1_8b": _V3_1 | _8B,
    "3.1_70b": _V3_1 | _70B,
    "3.1_405b": dict(_V3_1, layers=126, width=16384, heads=128, kv_heads=8, ffn=53248),
    "3.2_1b": dict(_V3_2, layers=16, width=2048, heads=32, kv_heads=8, ffn=8192),
    "3.2_3b": dict(_V3_2, layers=28, width=3072, heads=24, kv_heads=8, ffn=8192),
}
