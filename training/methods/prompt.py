"""Vectors in front of the text train (Lester et al. 2021, arXiv:2104.08691); they are in models.adapters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cloze.models import names
from cloze.models.heads import label_pattern
from cloze.options import option
from cloze.training.methods.base import METHODS, SmallParts


@METHODS.register("prompt")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt(SmallParts):
    prompt_length: int = option(20, "vectors in front of the text of the first stack", least=1)
    prompt_init: str = option(
        "vocabulary", "they begin as vectors of frequent tokens, or at random", choices=("vocabulary", "random")
    )

    rate = 0.3  # section 3
    tiny_rate = 3e-2
    patterns = (r"[a-z]+_prompt/embedding",)

    def model_config(self, config):
        return dataclasses.replace(config, prompt_length=self.prompt_length)

    def begin(self, params, frequent):
        if self.prompt_init == "random":
            return params
        return prompt_from_vocabulary(params, frequent(self.prompt_length))

    @classmethod
    def suit(cls, config, tiny):
        super().suit(config, tiny)
        config.optimizer.weight_decay = 0.0
        if not tiny:  # section 3: Adafactor without parameter scaling
            config.optimizer.update(
                name="adafactor", scale_by_parameter=False, schedule="constant", warmup_steps=0, weight_decay=1e-5,
                clip_norm=0.0, multipliers=((label_pattern(last=True), 3e-3), (r".*", 1.0)),
            )  # fmt: skip
            config.finetune.prompt_length = 100


def prompt_from_vocabulary(params, ids):
    """The tree with a prompt that begins as the vectors of tokens (section 3.2).

    Args:
        params: tree of concrete arrays, with a table of tokens and a prompt.
        ids: int [P], the tokens; they are used again from the first if they are fewer than the prompt is long.
    """
    flat = names.flatten(params)
    for name in [name for name in flat if name.endswith("_prompt/embedding")]:
        chosen = np.resize(np.asarray(ids), flat[name].shape[0])
        rows = jnp.take(flat["token/embedding"], chosen, axis=0)
        flat[name] = jax.device_put(rows, flat[name].sharding)
    return names.unflatten(flat)
