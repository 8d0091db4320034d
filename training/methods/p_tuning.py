"""A network that computes vectors in front of the text trains (Liu et al. 2021, arXiv:2103.10385)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models import axes, recurrent
from cloze.models.adapted import New, Part, linear, needed, uniform
from cloze.options import option
from cloze.training.methods.base import METHODS, SmallParts


@METHODS.register("p_tuning")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PTuning(SmallParts):
    prompt_length: int = option(20, "vectors in front of the text of the first stack", least=1)
    prompt_hidden: int = option(0, "width of the LSTM and the network; 0: the model's", least=0)

    rate = 1e-3
    tiny_rate = 3e-3
    patterns = (r"prompt/.*",)

    def model_config(self, config):
        return dataclasses.replace(config, prompt_length=self.prompt_length)

    def parts(self, config):
        hidden = self.prompt_hidden or config.width
        if hidden % 2:
            raise ConfigError(f"finetune.prompt_hidden={hidden} must be even: half of it is for each direction")
        return (PromptNetwork(hidden),)


@dataclasses.dataclass(frozen=True)
class PromptNetwork(Part):
    """A prompt from a table, an LSTM in both directions and a network with a ReLU (Liu et al. 2021, section 3.2).

    Attributes:
        hidden: width of both directions together, and of the network; even.
    """

    hidden: int
    tree = "prompt"

    def new(self, config, base):
        made, cells = {}, self.hidden // 2
        for prompt in needed("_prompt/embedding", base, "model.prompt_length"):
            length, width = base.shapes[prompt]
            stack = f"prompt/{prompt.removesuffix('_prompt/embedding')}"
            made[f"{stack}/embedding"] = New((length, width), (axes.SMALL, axes.EMBED), nn.initializers.normal(1))
            for way in ("forward", "backward"):
                init = uniform(cells)
                made[f"{stack}/{way}/input_kernel"] = New((width, 4 * cells), (axes.EMBED, axes.SMALL), init)
                made[f"{stack}/{way}/state_kernel"] = New((cells, 4 * cells), (axes.SMALL, None), init)
                made[f"{stack}/{way}/bias"] = New((4 * cells,), (axes.SMALL,), init)
            made |= linear(f"{stack}/hidden", (2 * cells, self.hidden), (axes.SMALL, None))
            made |= linear(f"{stack}/output", (self.hidden, width), (axes.SMALL, axes.EMBED))
        return made

    def computed(self, base):
        return tuple(name for name in base.shapes if name.endswith("_prompt/embedding"))

    def merged(self, flat):
        found = {}
        for name in (n for n in flat if n.startswith("prompt/") and n.endswith("/embedding")):
            own = name.removesuffix("/embedding")
            ways = [_direction(flat, f"{own}/{way}", flat[name], way == "backward") for way in ("forward", "backward")]
            h_PF = jnp.concatenate(ways, axis=-1) @ flat[f"{own}/hidden/kernel"] + flat[f"{own}/hidden/bias"]
            made_PE = jax.nn.relu(h_PF) @ flat[f"{own}/output/kernel"] + flat[f"{own}/output/bias"]
            found[f"{own.removeprefix('prompt/')}_prompt/embedding"] = made_PE
        return found


def _direction(flat, path, x_PE, reverse):
    """States [P, C] of one direction of the LSTM."""
    names = {"input": "input_kernel", "state": "state_kernel", "bias": "bias"}
    weights = {kind: flat[f"{path}/{name}"] for kind, name in names.items()}
    return recurrent.lstm(weights, x_PE[None], None, reverse)[0]
