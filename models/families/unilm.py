"""UniLM (Dong et al. 2019, arXiv:1905.03197): BERT, cased, read in four directions by its objective's ranks.

Each direction has token types of its own: 0 and 1 bidirectional, 2 left to right, 3 right to left, 4 and 5 the source
and target of sequence to sequence.
"""

from cloze.models.families import bert

PRESETS = {
    "base": dict(bert.PRESETS["base_cased"], token_types=6),
    "large": dict(bert.PRESETS["large_cased"], token_types=6),
}
