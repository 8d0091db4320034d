"""Learned positions and a relative bias in one model (COCO-LM)."""

import dataclasses

from cloze.models.positions.learned import Learned
from cloze.models.positions.relative_bias import RelativeBias
from cloze.models.positions.scheme import SCHEMES


@SCHEMES.register("learned_relative_bias")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedRelativeBias(Learned, RelativeBias):
    """Both, each in its place."""
