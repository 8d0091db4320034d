"""FlauBERT (Le et al. 2020, arXiv:1912.05372): a French BERT with XLM's block and a plain tied vocabulary head.

The large model has its norms before the sublayers.
"""

from cloze.models.families.bert import BERT

_FLAUBERT = dict(
    BERT,
    vocab_size=68729,
    token_types=0,
    norm_epsilon=1e-6,
    mlm_transform=False,
    initializer="normal",
    pooler_activation="none",
    pooler_dropout=0.1,
    head_dropout=0.0,
    heads_out=("mlm",),
)

PRESETS = {
    "base_cased": dict(_FLAUBERT, layers=12, width=768, heads=12, ffn=3072),
    "large_cased": dict(
        _FLAUBERT, layers=24, width=1024, heads=16, ffn=4096, norm_position="pre"
    ),  # its vocabulary has another size in the release
}
