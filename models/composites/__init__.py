"""The composites: a generator with what reads its text, and a student with its teacher."""

from cloze.models.composites.distillation import Distillation
from cloze.models.composites.generator import TIES, GeneratorPair, narrower
from cloze.models.composites.replacements import CorrectivePair, PairOutputs, ReplacedPair

__all__ = [
    "TIES", "CorrectivePair", "Distillation", "GeneratorPair", "PairOutputs", "ReplacedPair", "narrower",
]  # fmt: skip
