"""Low-rank changes of kernels train (Hu et al. 2022, arXiv:2106.09685)."""

import dataclasses
from typing import ClassVar

from cloze.models.low_rank import SCALINGS, Lora, frozen_rules
from cloze.options import Pattern, option
from cloze.training.methods.base import METHODS, SmallParts


@METHODS.register("lora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(SmallParts):
    lora_rank: int = option(8, "width between the two factors of a change", least=1)
    lora_alpha: float = option(16.0, "the product of the two factors is scaled by alpha / rank", above=0)
    lora_scaling: str = option(
        "rank", "what alpha is divided by; sqrt_rank is rsLoRA, for larger ranks", choices=tuple(SCALINGS)
    )
    lora_targets: tuple[tuple[Pattern, bool], ...] = option(
        ((r".*/attention/(query|value)/kernel", True), (r".*", False)),
        "ordered rules (pattern over names of kernels, adapted or not)",
    )

    rate = 4e-4  # table 11
    tiny_rate = 3e-3
    patterns = (r"lora/.*",)
    magnitudes: ClassVar[bool] = False

    def parts(self, config):
        targets = tuple(self.lora_targets)
        return (Lora(self.lora_rank, self.lora_alpha, targets, self.lora_scaling, self.magnitudes),)

    def frozen(self, shapes):
        return frozen_rules(self.lora_targets, shapes)
