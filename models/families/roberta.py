"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): BERT without next sentences, over byte-level pieces."""

from cloze.models.families.bert import BERT

_ROBERTA = dict(
    BERT,
    vocab_size=50265,
    token_types=1,
    max_positions=512,
    position_offset=2,  # the row of the padding id and the one before it stand for nothing
    norm_epsilon=1e-5,
    initializer="normal",  # fairseq's, not truncated
    pooler_dropout=0.1,
    heads_out=("mlm",),
)

PRESETS = {
    "base": dict(_ROBERTA, layers=12, width=768, heads=12, ffn=3072),
    "large": dict(_ROBERTA, layers=24, width=1024, heads=16, ffn=4096),
}
