"""From a table of names to the arrays of one model: which slice of which tensor is which part of which parameter."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from cloze import models
from cloze.models import axes, names


def parameters(config):
    """The models.Parameters of a ModelConfig."""
    return models.parameters(models.build(config))


@dataclasses.dataclass(frozen=True)
class Piece:
    """One tensor, or a piece of one, that is one layer's array of a parameter, or all of it.

    Attributes:
        ours: name of the parameter.
        layer: the layer's place in a stacked parameter, or None.
        theirs: name of the tensor.
        theirs_shape: its shape.
        cut: shape of our array without the layers axis and without the rows that pad the vocabulary.
        look: their array -> a view of it in our layout, see interop.format.Leaf.
    """

    ours: str
    layer: int | None
    theirs: str
    theirs_shape: tuple[int, ...]
    cut: tuple[int, ...]
    look: Callable[[Any], Any]

    def view(self, array):
        """Their array in our layout and, where that needs no copy, our shape."""
        return np.reshape(self.look(array), self.cut)

    def read(self, array, index, shape, dtype):
        """A slice of our array, copied; what pads the vocabulary is zero.

        Args:
            array: their tensor.
            index: one slice an axis of our array, padding included.
            shape: shape of our array, padding included.
            dtype: of the result.
        """
        bounds = [s.indices(size)[:2] for s, size in zip(index, shape, strict=True)]
        inside = tuple(slice(min(a, n), min(b, n)) for (a, b), n in zip(bounds, self.cut, strict=True))
        found = self.view(array)[inside]
        made = np.zeros([b - a for a, b in bounds], dtype)
        made[tuple(slice(0, size) for size in found.shape)] = found
        return made

    def write(self, array, ours):
        """Puts our array, without padding of the vocabulary or with it, into their tensor."""
        view = self.look(array)
        view[...] = np.reshape(ours[tuple(slice(0, size) for size in self.cut)], view.shape)


def plan(rows, base, config, wanted):
    """The parts of a model.

    Args:
        rows: table of names, see interop.format.Row.
        base: the prefix that stands for {base}.
        config: ModelConfig.
        wanted: Parameters.

    Returns:
        [Piece]. Parameters that no row names have none.

    Raises:
        ValueError: two rows name the same parameter, which is a mistake in the table.
    """
    parts, seen = [], set()
    for row in rows:
        if row.when is not None and not row.when(config):
            continue
        for leaf in row.kind:
            stacked = "{i}" in row.ours
            name = (row.ours + leaf.ours).replace("/{i}", "")
            if name not in wanted.shapes or names.is_stacked(name) != stacked:
                continue
            if name in seen:
                raise ValueError(f"two rows name the parameter {name}")
            seen.add(name)
            logical = cut(name, config, wanted)[1 if stacked else 0 :]
            layers = range(wanted.shapes[name][0]) if stacked else (None,)
            for layer in (layer for layer in layers if layer not in config.unused_layers(name)):
                theirs = (row.theirs + leaf.theirs).replace("{base}", base).replace("{i}", str(layer))
                parts.append(
                    Piece(
                        ours=name,
                        layer=layer,
                        theirs=theirs,
                        theirs_shape=tuple(leaf.shape(logical, config)),
                        cut=logical,
                        look=lambda array, view=leaf.view: view(array, config),
                    )
                )
    return parts


def cut(name, config, wanted):
    """A parameter's shape without the rows that pad the vocabulary."""
    pairs = zip(wanted.axis_names[name], wanted.shapes[name], strict=True)
    return tuple(config.vocab_size if axis == axes.VOCAB else size for axis, size in pairs)


def body(config):
    """The ModelConfig without heads."""
    return dataclasses.replace(config, heads_out=())
