"""Keys and values in front of each layer's own train (Li and Liang 2021, arXiv:2101.00190); see models.adapters."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.adapted import New, Part, linear, needed
from cloze.options import option
from cloze.training.methods.base import METHODS, SmallParts


@METHODS.register("prefix")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Prefix(SmallParts):
    prefix_length: int = option(10, "keys and values in front of each layer's own", least=1)
    prefix_hidden: int = option(
        512,
        "width of the network that they are computed with while they train; 0: they train directly",
        least=0,
    )
    prefix_gate: bool = option(
        True, "weigh the prefix with a gate that opens from 0, so that training begins at the base model"
    )

    rate = 5e-3
    tiny_rate = 1e-2
    patterns = (r"prefix/.*|.*/attention/prefix_(key|value|gate)",)

    def model_config(self, config):
        return dataclasses.replace(config, prefix_length=self.prefix_length, prefix_gated=self.prefix_gate)

    def parts(self, config):
        return (PrefixNetwork(self.prefix_hidden),) if self.prefix_hidden else ()


@dataclasses.dataclass(frozen=True)
class PrefixNetwork(Part):
    """All layers' prefixes from one small table and a network with a tanh (Li and Liang 2021, section 4.3).

    Attributes:
        hidden: width of the network.
    """

    hidden: int
    tree = "prefix"

    def new(self, config, base):
        made = {}
        for key in needed("/attention/prefix_key", base, "model.prefix_length"):
            layers, length, width = base.shapes[key]
            stack = f"prefix/{key.split('/')[0]}"
            made[f"{stack}/embedding"] = New(
                (length, config.width), (axes.SMALL, axes.EMBED), nn.initializers.normal(1)
            )
            made |= linear(f"{stack}/hidden", (config.width, self.hidden), (axes.EMBED, axes.SMALL))
            for kind in ("key", "value"):
                shape, named = (layers, self.hidden, width), (axes.LAYERS, axes.SMALL, axes.KV_HEADS)
                made |= linear(f"{stack}/layers/{kind}", shape, named)
        return made

    def computed(self, base):
        return tuple(
            name for name in base.shapes if name.endswith(("/attention/prefix_key", "/attention/prefix_value"))
        )

    def merged(self, flat):
        found = {}
        for name in (n for n in flat if n.startswith("prefix/") and n.endswith("/embedding")):
            own = name.removesuffix("/embedding")
            h_PF = jnp.tanh(flat[name] @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"])
            for kind in ("key", "value"):
                path = f"{own}/layers/{kind}"
                made_LPK = jnp.einsum("PF,LFK->LPK", h_PF, flat[f"{path}/kernel"]) + flat[f"{path}/bias"][:, None]
                found[f"{own.removeprefix('prefix/')}/layers/attention/prefix_{kind}"] = made_LPK
        return found
