"""DeBERTa (He et al. 2021, arXiv:2006.03654) and DeBERTa v3 (He et al. 2023, arXiv:2111.09543).

Attention is disentangled: contents and distances are scored apart; positions are not added to the input. v3 has
logarithmic buckets of distances and projects them by the layer's own matrices. The presets of v1 predict hidden
tokens with the enhanced mask decoder, two turns of the last layer (model.enhanced_decoder=0 goes without, as Hugging
Face's classes do). v3 is pretrained as a discriminator; its generators have half the layers.
"""

from cloze.models.families.bert import BERT

_DEBERTA = dict(
    BERT,
    vocab_size=50265,
    token_types=0,
    positions="disentangled",
    max_positions=512,
    relative_span=512,
    relative_buckets=0,
    norm_epsilon=1e-7,
    attention_bias="qvo",
    enhanced_decoder=2,
    initializer="normal",
    pooler_activation="gelu",
    heads_out=("mlm",),
)
_V3 = dict(
    _DEBERTA,
    vocab_size=128100,
    attention_bias="qkvo",
    relative_buckets=256,
    relative_shared=True,
    relative_norm=True,
    enhanced_decoder=0,
    heads_out=("rtd",),
)


def _generator(preset):
    return dict(preset, layers=preset["layers"] // 2, heads_out=("mlm",))


_V3_XSMALL = dict(_V3, layers=12, width=384, heads=6, ffn=1536)
_V3_SMALL = dict(_V3, layers=6, width=768, heads=12, ffn=3072)
_V3_BASE = dict(_V3, layers=12, width=768, heads=12, ffn=3072)
_V3_LARGE = dict(_V3, layers=24, width=1024, heads=16, ffn=4096)

PRESETS = {
    "base": dict(_DEBERTA, layers=12, width=768, heads=12, ffn=3072),
    "large": dict(_DEBERTA, layers=24, width=1024, heads=16, ffn=4096),
    "v3_xsmall": _V3_XSMALL,
    "v3_small": _V3_SMALL,
    "v3_base": _V3_BASE,
    "v3_large": _V3_LARGE,
    "v3_xsmall_generator": _generator(_V3_XSMALL),
    "v3_small_generator": _generator(_V3_SMALL),
    "v3_base_generator": _generator(_V3_BASE),
    "v3_large_generator": _generator(_V3_LARGE),
}
