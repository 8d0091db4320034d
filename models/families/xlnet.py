"""XLNet (Yang et al. 2019, arXiv:1906.08237): Transformer-XL's attention under permuted orders, with two streams.

Ranks give the order. Places to predict (`prediction_positions`) get a second stream that sees smaller ranks only.
"""

_XLNET = dict(
    architecture="encoder",
    vocab_size=32000,
    positions="transformer_xl",
    norm="layer",
    norm_position="post",
    norm_epsilon=1e-12,
    activation="gelu",
    attention_bias="none",
    lm_bias=True,
    initializer="normal",
    initializer_std=0.02,
    dropout=0.1,
    attention_dropout=0.1,
    activation_dropout=0.1,
    final_dropout=0.1,
    pooling="last",
    pooler_activation="tanh",
    heads_out=("lm",),
)

PRESETS = {
    "base": dict(_XLNET, layers=12, width=768, heads=12, ffn=3072),
    "large": dict(_XLNET, layers=24, width=1024, heads=16, ffn=4096),
}
