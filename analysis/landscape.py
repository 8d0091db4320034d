"""The loss around a run: on a plane of random directions, and on the line from where training began.

Li et al. 2018, arXiv:1712.09913, section 4: directions are drawn from a normal distribution and scaled, filter by
filter, to the lengths of the parameters, so that networks of different scales compare. Goodfellow et al. 2015,
arXiv:1412.6544, section 3: the line between two sets of parameters.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cloze.analysis import losses, pictures
from cloze.analysis.base import ANALYSES, Analysis, Result
from cloze.models import names
from cloze.options import option
from cloze.tasks.progress import Progress
from cloze.training import initial


@ANALYSES.register("landscape")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape(Analysis):
    """The validation loss on a plane around the run, and between its beginning and it."""

    points: int = option(11, "losses along each direction and along the line, an odd number", least=3, most=201)
    radius: float = option(1.0, "how far the plane goes, in lengths of filters", above=0, below=100.0)
    batches: int = option(2, "validation batches whose loss it is", least=1)
    seed: int = option(0, "of the directions", least=0)

    def run(self, trained, report):
        self.check_model(trained)
        pictures.check()
        loss = jax.jit(losses.validation_loss(trained, self.batches))
        center = trained.params
        keys = jax.random.split(jax.random.key(self.seed))
        first, second = (direction(key, center) for key in keys)
        count = self.points + (self.points % 2 == 0)
        places = np.linspace(-self.radius, self.radius, count)
        done = Progress(report, "losses", count * count)
        surface = np.zeros((count, count))
        for row, b in enumerate(places):
            for column, a in enumerate(places):
                surface[row, column] = float(loss(shifted(center, (a, first), (b, second))))
                done(1)
        line = self._line(trained, center, loss, count, report)
        here = surface[count // 2, count // 2]
        lines = [f"loss {here:.4f} at the run; on the plane {surface.min():.4f} to {surface.max():.4f}"]
        if line:
            lines.append(f"on the line: {line[0.0]:.4f} where it began, {max(line.values()):.4f} at most")
        numbers = {
            "places": places.tolist(), "surface": surface.tolist(),
            "line": {"places": list(line), "losses": list(line.values())},
        }  # fmt: skip
        named = ("On two random directions", "On the line from its beginning", "validation loss")
        title = f"Loss around step {trained.step}"
        return Result(
            numbers, tuple(lines), lambda path: pictures.plane(path, surface, places, line, title=title, names=named)
        )

    def _line(self, trained, center, loss, count, report):
        """{share of the way: loss} from init.checkpoint to the run and a quarter beyond; {}: it began at random."""
        if not trained.config.init.checkpoint:
            report("This run was not begun from another one (init.checkpoint is empty): there is no line to draw")
            return {}
        origin = initial.open_origin(trained.config.init.checkpoint, trained.config.init.step)
        offered, now = origin.read(None, report)[0], names.flatten(center)
        # What is new in the run, such as a head, stays as it is.
        way = {
            name: array - offered[name] if name in offered and offered[name].shape == array.shape else 0 * array
            for name, array in now.items()
        }
        way = names.unflatten(way)
        shares = sorted({0.0, 1.0, *np.round(np.linspace(0, 1.25, count), 4).tolist()})
        return {share: float(loss(shifted(center, (share - 1, way)))) for share in shares}


def direction(key, params):
    """A random direction, as a tree like the parameters, with filters of the parameters' lengths.

    A filter is what makes one output of a linear map, a column of its kernel in each layer, or a row of a table.
    Vectors (biases, scales of norms) stay as they are, as in Li et al.
    """
    flat, found = names.flatten(params), {}
    for (name, array), own in zip(flat.items(), jax.random.split(key, len(flat)), strict=True):
        if array.ndim - names.is_stacked(name) < 2:
            found[name] = jnp.zeros_like(array)
            continue
        axis = -1 if name.endswith("embedding") or name.endswith(("position", "token_type")) else -2
        drawn = jax.random.normal(own, array.shape, array.dtype)
        length, drawn_length = (jnp.linalg.norm(one, axis=axis, keepdims=True) for one in (array, drawn))
        found[name] = drawn * length / jnp.maximum(drawn_length, 1e-12)
    return names.unflatten(found)


@jax.jit
def shifted(params, *moves):
    """The parameters plus share * direction for each (share, direction)."""
    for share, way in moves:
        params = jax.tree.map(lambda p, d, share=share: p + share * d, params, way)
    return params
