"""ALBERT (Lan et al. 2020, arXiv:1909.11942): BERT with one layer used at every depth and narrow embeddings.

The presets are version 2, which has no dropout; version 1 has model.dropout=0.1 and model.attention_dropout=0.1. The
head "nsp" predicts sentence order.
"""

from cloze.models.families.bert import BERT

_ALBERT = dict(
    BERT,
    vocab_size=30000,
    embedding_width=128,
    shared_layers=True,
    activation="gelu_tanh",
    dropout=0.0,
    attention_dropout=0.0,
)

PRESETS = {
    "base": dict(_ALBERT, layers=12, width=768, heads=12, ffn=3072),
    "large": dict(_ALBERT, layers=24, width=1024, heads=16, ffn=4096),
    "xlarge": dict(_ALBERT, layers=24, width=2048, heads=16, ffn=8192),
    "xxlarge": dict(_ALBERT, layers=12, width=4096, heads=64, ffn=16384),
}
