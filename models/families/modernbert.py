"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): a BERT of today's parts.

Norms come before the sublayers and no part has a bias but the decoder, the feed-forward is gated, positions are
rotations. Every third layer sees the whole row, the others 64 tokens to either side. The first layer reads the
normalised embeddings without a norm of its own.
"""

_LOCAL = {"window": 65, "rope_theta": 10000.0}  # fewer than 65 places away: 128 tokens beside its own
_MODERNBERT = dict(
    architecture="encoder",
    vocab_size=50368,
    max_positions=8192,
    positions="rotary",
    rope_theta=160000.0,
    pattern=({}, _LOCAL, _LOCAL),
    norm="layer",
    norm_bias=False,
    norm_position="pre",
    norm_epsilon=1e-5,
    first_attention_norm=False,
    embedding_norm=True,
    final_norm=True,
    activation="gelu",
    gated=True,
    use_bias=False,
    initializer="scaled_residual",
    initializer_std=0.02,
    dropout=0.0,
    attention_dropout=0.0,
    head_transform=True,
    mlm_transform=False,
    pooler_activation="none",
    head_dropout=0.0,
    heads_out=("mlm",),
)

PRESETS = {
    "base": dict(_MODERNBERT, layers=22, width=768, heads=12, ffn=1152),
    "large": dict(_MODERNBERT, layers=28, width=1024, heads=16, ffn=2624),
}
