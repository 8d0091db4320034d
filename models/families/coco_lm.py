"""COCO-LM (Meng et al. 2021, arXiv:2102.08473): a BERT with a relative bias that corrects what a small one replaced.

The presets are the main model, whose heads give the logits of the vocabulary and the probability of copying, and the
auxiliary model that fills the blanks; its number of layers is as the paper's.
"""

from cloze.models.families.bert import BERT

_COCO_LM = dict(
    BERT,
    vocab_size=32768,
    token_types=0,
    positions="learned_relative_bias",
    relative_buckets=32,
    relative_max_distance=128,
    norm_epsilon=1e-5,
    initializer="normal",
    heads_out=("mlm", "copy"),
)
_BASE = dict(_COCO_LM, layers=12, width=768, heads=12, ffn=3072)
_LARGE = dict(_COCO_LM, layers=24, width=1024, heads=16, ffn=4096)

PRESETS = {
    "base": _BASE,
    "base_auxiliary": dict(_BASE, layers=4, heads_out=("mlm",)),
    "large": _LARGE,
    "large_auxiliary": dict(_LARGE, layers=6, heads_out=("mlm",)),
}
