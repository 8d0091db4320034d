"""Low-rank changes of kernels train, and the lengths of their columns on their own (Liu et al. 2024)."""

import dataclasses

from cloze.training.methods.base import METHODS
from cloze.training.methods.lora import LowRank


@METHODS.register("dora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dora(LowRank):
    magnitudes = True
