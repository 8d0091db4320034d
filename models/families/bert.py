"""BERT (Devlin et al. 2019, arXiv:1810.04805): a bidirectional encoder, post-LN, with MLM and NSP heads.

The activation is the exact (erf) GELU, as in the published checkpoints' Hugging Face form; Google's current
code uses the tanh form: set model.activation=gelu_tanh for it.
"""

BERT = dict(
    architecture="encoder",
    vocab_size=30522,
    max_positions=512,
    token_types=2,
    positions="learned",
    norm="layer",
    norm_position="post",
    norm_epsilon=1e-12,
    embedding_norm=True,
    activation="gelu",
    initializer="truncated_normal",
    initializer_std=0.02,
    dropout=0.1,
    attention_dropout=0.1,
    heads_out=("mlm", "nsp"),
)
_BASE = dict(BERT, layers=12, width=768, heads=12, ffn=3072)
_LARGE = dict(BERT, layers=24, width=1024, heads=16, ffn=4096)

PRESETS = {
    "base": _BASE,
    "base_cased": dict(_BASE, vocab_size=28996),
    "large": _LARGE,
    "large_cased": dict(_LARGE, vocab_size=28996),
}
