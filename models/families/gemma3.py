"""Gemma 3 (Kamath et al. 2025, arXiv:2503.19786) without vision: five local layers to a global one, query-key norms."""

from cloze.models.families.gemma import GEMMA


def _pattern(**scaling):
    return ({}, {}, {}, {}, {}, {"window": 0, "rope_theta": 1000000.0, **scaling})


_GEMMA3 = dict(
    GEMMA,
    vocab_size=262144,
    max_positions=32768,
    norm_position="both",
    query_key_norm="head",
    window=512,
    pattern=_pattern(),
)

PRESETS = {
    "270m": dict(_GEMMA3, layers=18, width=640, heads=4, kv_heads=1, ffn=2048),
    "1b": dict(_GEMMA3, layers=26, width=1152, heads=4, kv_heads=1, ffn=6912),
    "4b": dict(
        _GEMMA3,
        vocab_size=262208,
        max_positions=131072,
        layers=34,
        width=2560,
        heads=8,
        kv_heads=4,
        ffn=10240,
        window=1024,
        pattern=_pattern(rope_scaling=(8.0,)),
    ),
}
