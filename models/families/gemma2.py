"""Gemma 2 (Riviere et al. 2024, arXiv:2408.00118): Gemma with norms around sublayers, soft caps and local layers."""

from cloze.models.families.gemma import GEMMA

_GEMMA2 = dict(
    GEMMA,
    norm_position="both",
    attention_softcap=50.0,
    logit_cap=30.0,
    window=4096,
    pattern=({}, {"window": 0}),
)

PRESETS = {
    "2b": dict(_GEMMA2, layers=26, width=2304, heads=8, kv_heads=4, ffn=9216),
    "9b": dict(_GEMMA2, layers=42, width=3584, heads=16, kv_heads=8, ffn=14336),
    "27b": dict(_GEMMA2, layers=46, width=4608, heads=32, kv_heads=16, ffn=36864, head_dim=128, query_scalar=4608 / 32),
}
