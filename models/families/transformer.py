"""The original Transformer (Vaswani et al. 2017, arXiv:1706.03762): a post-LN encoder-decoder with sinusoids.

One table of 37,000 pieces serves both sides and the vocabulary head (section 3.4).
"""

_TRANSFORMER = dict(
    architecture="encoder_decoder",
    vocab_size=37000,
    positions="sinusoidal",
    norm="layer",
    norm_position="post",
    norm_epsilon=1e-6,
    activation="relu",
    scale_embeddings=True,
    attention_bias="none",
    initializer="xavier_uniform",
    dropout=0.1,
    attention_dropout=0.0,
    pooling="last",
    heads_out=("lm",),
)

PRESETS = {
    "base": dict(_TRANSFORMER, layers=6, decoder_layers=6, width=512, heads=8, ffn=2048),
    "big": dict(_TRANSFORMER, layers=6, decoder_layers=6, width=1024, heads=16, ffn=4096, dropout=0.3),
}
