"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): a generator fills blanks, a discriminator finds what was replaced.

The presets of the generator have a quarter (small, large) or a third (base) of the discriminator's width, and its
embeddings' size. The released small generator is as wide as its discriminator: `small_plus_generator`.
"""

from cloze.models.families.bert import BERT

_ELECTRA = dict(
    BERT, pooler_activation="gelu", pooler_dropout=0.1, heads_out=("rtd",)
)  # the classifier is dense, GELU and linear, with dropout before each
_SMALL = dict(_ELECTRA, layers=12, width=256, embedding_width=128, heads=4, ffn=1024)
_BASE = dict(_ELECTRA, layers=12, width=768, heads=12, ffn=3072)
_LARGE = dict(_ELECTRA, layers=24, width=1024, heads=16, ffn=4096)


def _generator(preset, width):
    narrow = dict(width=width, heads=max(1, width // 64), ffn=4 * width)
    embedding_width = preset.get("embedding_width", preset["width"])
    return dict(preset, **narrow, embedding_width=embedding_width, heads_out=("mlm",))


PRESETS = {
    "small": _SMALL,
    "base": _BASE,
    "large": _LARGE,
    "small_generator": _generator(_SMALL, 64),
    "small_plus_generator": _generator(_SMALL, 256),
    "base_generator": _generator(_BASE, 256),
    "large_generator": _generator(_LARGE, 256),
}
