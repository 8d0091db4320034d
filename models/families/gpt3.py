"""GPT-3 (Brown et al. 2020, arXiv:2005.14165, Table 2.1): GPT-2's block at eight sizes, in its dense form.

The paper alternates dense layers with locally banded ones and does not print the width of the band:
model.pattern=({}, {"window": 256}) puts a band of that width into every second layer.

Two rows of the table cannot be built as printed and are mended as the field does: XL (24 heads of 128 are not
2048 wide; 16 heads are) and 13B (5140 does not divide into 40 heads; 5120 does).
"""

from cloze.models.families.gpt2 import _GPT2

_GPT3 = dict(_GPT2, max_positions=2048, dropout=0.0, attention_dropout=0.0)


def _size(layers, width, heads):
    return dict(_GPT3, layers=layers, width=width, heads=heads, ffn=4 * width)


PRESETS = {
    "125m": _size(12, 768, 12),
    "350m": _size(24, 1024, 16),
    "760m": _size(24, 1536, 16),
    "1.3b": _size(24, 2048, 16),
    "2.7b": _size(32, 2560, 32),
    "6.7b": _size(32, 4096, 32),
    "13b": _size(40, 5120, 40),
    "175b": _size(96, 12288, 96),
}
