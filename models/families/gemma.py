"""Gemma (Mesnard et al. 2024, arXiv:2403.08295): Llama with tanh GELU, scaled embeddings, norms times 1 + scale."""

from cloze.models.families.llama import LLAMA

GEMMA = dict(
    LLAMA,
    vocab_size=256000,
    max_positions=8192,
    norm_epsilon=1e-6,
    norm_plus_one=True,
    activation="gelu_tanh",
    scale_embeddings=True,
    tie_embeddings=True,
    head_dim=256,
)

PRESETS = {
    "2b": dict(GEMMA, layers=18, width=2048, heads=8, kv_heads=1, ffn=16384),
    "7b": dict(GEMMA, layers=28, width=3072, heads=16, kv_heads=16, ffn=24576),
}
