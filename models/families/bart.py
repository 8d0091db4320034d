"""BART (Lewis et al. 2020, arXiv:1910.13461): a post-LN encoder-decoder with learned positions."""

BART = dict(
    architecture="encoder_decoder",
    vocab_size=50265,
    positions="learned",
    max_positions=1024,
    position_offset=2,  # the first two rows of the table stand for nothing
    norm="layer",
    norm_position="post",
    norm_epsilon=1e-5,
    embedding_norm=True,
    activation="gelu",
    initializer="normal",
    initializer_std=0.02,
    dropout=0.1,
    attention_dropout=0.1,
    pooling="last",
    head_dropout=0.0,
    heads_out=("lm",),
)

PRESETS = {
    "base": dict(BART, layers=6, decoder_layers=6, width=768, heads=12, ffn=3072),
    "large": dict(BART, layers=12, decoder_layers=12, width=1024, heads=16, ffn=4096),
}
