"""T5 (Raffel et al. 2020, arXiv:1910.10683) and T5 1.1: pre-RMSNorm encoder-decoders with a relative bias.

1.1 gates the feed-forward with tanh GELU, unties the vocabulary head, does not scale its logits, and is
pretrained without dropout.

The paper's study of architectures (section 3.2) has variants of the base size: one stack for encoder and decoder
(`shared_base`), half the depth (`half_base`), a decoder alone (`lm_base`) and one that sees its prefix in both
directions, by ranks (`prefix_lm_base`).
"""

_T5 = dict(
    architecture="encoder_decoder",
    vocab_size=32128,
    positions="relative_bias",
    relative_buckets=32,
    relative_max_distance=128,
    norm="rms",
    norm_position="pre",
    norm_epsilon=1e-6,
    final_norm=True,
    activation="relu",
    use_bias=False,
    scale_attention=False,
    tie_embeddings=True,
    scale_tied_logits=True,
    initializer="t5",
    dropout=0.1,
    attention_dropout=0.1,
    activation_dropout=0.1,
    final_dropout=0.1,
    pooling="last",
    head_dropout=0.0,
    heads_out=("lm",),
)
_V1_1 = dict(
    _T5,
    activation="gelu_tanh",
    gated=True,
    tie_embeddings=False,
    scale_tied_logits=False,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    final_dropout=0.0,
)


def _size(settings, layers, width, ffn, heads, head_dim):
    return dict(settings, layers=layers, decoder_layers=layers, width=width, ffn=ffn, heads=heads, head_dim=head_dim)


_BASE = _size(_T5, 12, 768, 3072, 12, 64)
_DECODER = dict(_BASE, architecture="decoder", decoder_layers=0)

PRESETS = {
    "small": _size(_T5, 6, 512, 2048, 8, 64),
    "base": _BASE,
    "large": _size(_T5, 24, 1024, 4096, 16, 64),
    "3b": _size(_T5, 24, 1024, 16384, 32, 128),
    "11b": _size(_T5, 24, 1024, 65536, 128, 128),
    "shared_base": dict(_BASE, shared_stacks=True),
    "half_base": dict(_BASE, layers=6, decoder_layers=6),
    "lm_base": _DECODER,
    "prefix_lm_base": dict(_DECODER, relative_bidirectional=True),
    "v1_1_small": _size(_V1_1, 8, 512, 1024, 6, 64),
    "v1_1_base": _size(_V1_1, 12, 768, 2048, 12, 64),
    "v1_1_large": _size(_V1_1, 24, 1024, 2816, 16, 64),
    "v1_1_xl": _size(_V1_1, 24, 2048, 5120, 32, 64),
    "v1_1_xxl": _size(_V1_1, 24, 4096, 10240, 64, 64),
}
