"""Pythia (Biderman et al. 2023, arXiv:2304.01373): GPT-NeoX's block (Black et al. 2022, arXiv:2204.06745).

Attention and feed-forward read the same state, each through a norm of its own, and a quarter of each head turns with
its position.
"""

_NEOX = dict(
    architecture="decoder",
    vocab_size=50304,
    max_positions=2048,
    positions="rotary",
    rotary_share=0.25,
    norm="layer",
    norm_position="parallel",
    norm_epsilon=1e-5,
    final_norm=True,
    activation="gelu",
    tie_embeddings=False,
    initializer="small",
    dropout=0.0,
    attention_dropout=0.0,
    pooling="last",
    pooler_activation="none",
    classifier_bias=False,
    heads_out=("lm",),
)


def _size(layers, width, heads):
    return dict(_NEOX, layers=layers, width=width, heads=heads, ffn=4 * width)


PRESETS = {
    "70m": _size(6, 512, 8),
    "160m": _size(12, 768, 12),
    "410m": _size(24, 1024, 16),
    "1b": _size(16, 2048, 8),
    "1.4b": _size(24, 2048, 16),
    "2.8b": _size(32, 2560, 32),
    "6.9b": dict(_size(32, 4096, 32), vocab_size=50432, initializer="scaled_residual", initializer_std=0.02),
}
