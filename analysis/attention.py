"""Who looks at whom: the weights of every head for a text, as one page that opens from disk."""

import dataclasses
from typing import Any

import jax
import numpy as np

from cloze import models
from cloze.analysis import attention_page
from cloze.analysis.base import ANALYSES, Analysis, Result, read
from cloze.models.backends import einsum
from cloze.options import option

TOP = 3  # tokens that a line names


@ANALYSES.register("attention")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention(Analysis):
    """The probabilities of attention that the model computes, of each layer and head (Vaswani et al. 2017, 3.2.1)."""

    picture = ".html"
    text: str = option("The model reads the whole sentence at once.", "the text that is read")

    def run(self, trained, report):
        self.check_model(trained)
        text = read(trained, self.text)
        weights = weights_of(trained.model.config, trained.params, text.batch)[:, 0]
        layers, heads = weights.shape[:2]
        entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-12)), axis=-1).mean(axis=-1)
        entropy = np.maximum(entropy, 0.0)  # -0 of weights that are 1
        report(", ".join([_count(len(text.ids), "token"), f"{_count(layers, 'layer')} of {_count(heads, 'head')}"]))
        lines = []
        for layer in range(layers):
            sharp, broad = entropy[layer].argmin(), entropy[layer].argmax()
            lines.append(
                f"layer {layer + 1}: head {sharp + 1} looks at the fewest tokens (entropy {entropy[layer, sharp]:.2f} "
                f"nats), head {broad + 1} at the most ({entropy[layer, broad]:.2f})"
            )
        numbers = {
            "text": self.text,
            "tokens": list(text.pieces),
            "weights": np.round(weights.astype(float), 5).tolist(),
            "entropy": np.round(entropy.astype(float), 4).tolist(),
        }
        return Result(numbers, tuple(lines), lambda path: attention_page.write(path, self.text, text.pieces, weights))


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def weights_of(config: Any, params: Any, batch: dict) -> np.ndarray:
    """The probabilities of all layers of a model of one stack.

    Args:
        config: ModelConfig, an encoder or decoder.
        params: nested tree of its parameters.
        batch: see models.inputs; T tokens a row.

    Returns:
        f32 [layers, B, heads, T, T], of each query over all keys; rows add up to 1.
    """
    # Layer by layer in Python, so that what is kept is arrays; only the reference has all weights in memory.
    plain = dataclasses.replace(config, scan=False, remat="none", attention_backend="einsum", heads_out=())
    with einsum.kept() as found, jax.disable_jit():
        models.build(plain).apply({"params": params}, batch)
    return np.stack([np.asarray(one, np.float32) for one in found])
