"""Two bottlenecks a layer train, and norms (Houlsby et al. 2019, arXiv:1902.00751); they are in models.adapters."""

import dataclasses

from cloze.options import option
from cloze.training.methods.base import METHODS, SmallParts


@METHODS.register("adapters")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapters(SmallParts):
    adapter_size: int = option(64, "width of the bottlenecks (Houlsby: 8, 64, 256)", least=1)

    rate = 3e-4  # section 3.1
    tiny_rate = 2e-3
    patterns = (r".*_adapter/.*", r".*norm/(scale|bias)")  # section 2: norms train, too

    def model_config(self, config):
        return dataclasses.replace(config, adapter_size=self.adapter_size)
