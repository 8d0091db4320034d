"""SpanBERT (Joshi et al. 2020, arXiv:1907.10529): BERT, cased, with a head that reads both ends of a hidden span."""

from cloze.models.families import bert

_HEADS = dict(heads_out=("mlm", "sbo"))

PRESETS = {
    "base": dict(bert.PRESETS["base_cased"], **_HEADS),
    "large": dict(bert.PRESETS["large_cased"], **_HEADS),
}
