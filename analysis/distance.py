"""How far training has moved each layer from where it began, and how it pulls on it now.

The Euclidean distance of the parameters from those of init.checkpoint, alone and over their length there (Zhang et al.
2022, arXiv:1902.01996, section 3), and the gradient of the validation loss.
"""

import collections
import dataclasses
import math

import jax
import numpy as np

from cloze.analysis import losses, pictures
from cloze.analysis.base import ANALYSES, Analysis, Result
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.heads import head_modules
from cloze.options import option
from cloze.training import initial

ABOVE = ("final norm", "heads")  # behind the layers


@ANALYSES.register("distance")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Distance(Analysis):
    """Distance from init.checkpoint and norm of the gradient, layer by layer."""

    batches: int = option(4, "validation batches whose loss the gradient is of", least=1)

    def run(self, trained, report):
        self.check_model(trained)
        pictures.check()
        checkpoint = trained.config.init.checkpoint
        if not checkpoint:
            raise ConfigError(
                f"{trained.workdir} was not begun from another run (init.checkpoint is empty), so that there is no "
                "distance from it: choose a finetuned run"
            )
        now = {name: np.asarray(array, np.float64) for name, array in names.flatten(trained.params).items()}
        before, origin = initial.open_origin(checkpoint, trained.config.init.step).read(None, report)
        report(f"Distance from {origin}")
        before = {name: np.asarray(array, np.float64) for name, array in before.items()}
        common = {name for name in now if name in before and before[name].shape == now[name].shape}
        if not common:
            raise ConfigError(f"{checkpoint} has no parameter of this run's names and shapes: choose another run")
        moved = norms({name: now[name] - before[name] for name in common})
        length = norms({name: before[name] for name in common})
        loss = losses.validation_loss(trained, self.batches)
        gradient = norms({name: np.asarray(leaf, np.float64) for name, leaf in names.flatten(
            jax.jit(jax.grad(loss))(trained.params)).items()})  # fmt: skip
        places = list(gradient)
        columns = {
            "distance": [moved.get(place, math.nan) for place in places],
            "relative": [moved[place] / length[place] if length.get(place) else math.nan for place in places],
            "gradient": [gradient[place] for place in places],
        }
        lines = [
            f"{place}: distance {a:.4g}, of its length {b:.2%}, gradient {c:.3g}"
            for place, a, b, c in zip(places, *columns.values(), strict=True)
        ]
        numbers = {"origin": origin, "places": places}
        numbers |= {name: [None if math.isnan(v) else v for v in column] for name, column in columns.items()}
        panels = [
            ("Distance from where training began", "distance", {"distance": columns["distance"]}),
            ("Over the length of the parameters there", "share", {"relative": columns["relative"]}),
            ("Gradient of the validation loss", "norm", {"gradient": columns["gradient"]}),
        ]
        ticks = [place.removeprefix("layer ") for place in places]
        title, note = f"How far step {trained.step} is from its beginning", origin
        return Result(numbers, tuple(lines), lambda path: pictures.lines(path, panels, ticks, title=title, note=note))


def norms(arrays):
    """The Euclidean norm of all parameters of a place together.

    Args:
        arrays: {name: array} of a model of one stack; layers are stacked.

    Returns:
        {place: norm}: "embeddings", "layer 1", ..., "final norm", "heads", as far as they are there.
    """
    squares = collections.defaultdict(float)
    for name, array in arrays.items():
        if names.is_stacked(name):
            for number, layer in enumerate(array, 1):
                squares[f"layer {number}"] += float(np.sum(np.square(layer)))
        else:
            squares[_place(name)] += float(np.sum(np.square(array)))
    layers = sorted((place for place in squares if place.startswith("layer ")), key=lambda place: int(place[6:]))
    order = ("embeddings", *layers, *ABOVE)
    return {place: math.sqrt(squares[place]) for place in order if place in squares}


def _place(name):
    """Where a parameter outside the layers stands."""
    if name.split("/")[0] in head_modules():
        return "heads"
    return "final norm" if "/final_norm/" in name else "embeddings"
