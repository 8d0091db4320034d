"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): half of BERT's layers, without token types and next sentences."""

from cloze.models.families.bert import BERT

PRESETS = {
    "base": dict(
        BERT,
        layers=6,
        width=768,
        heads=12,
        ffn=3072,
        token_types=0,
        initializer="normal",
        pooler_activation="relu",
        head_dropout=0.2,
        heads_out=("mlm",),
    ),
}
