"""Which parameters of a run come from which of another one: by rules over names.

Rules are ordered pairs (pattern over this model's names, name in the other one or None); the first pattern that matches
a whole name decides. A name may refer to groups of the pattern, as "\\1". None, or a name that is not there, leaves a
parameter as it was initialised. Stacked layers have one name each, so that the layers of a student can be every second
one of its teacher. A vocabulary may have grown: then its first rows are taken.
"""

import collections
import pathlib

import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models import axes, names
from cloze.models.heads import label_pattern


class Donor:
    """What parameters are taken from, and by which rules.

    Args:
        origin: training.initial.RunOrigin or HuggingFaceOrigin.
        directory: where that is, as the configuration has it.
        rules: ordered (pattern, name or None).
        vocab_size: rows of this run's vocabulary, if they may be more; None: they are as many.
    """

    def __init__(self, origin, directory, rules, vocab_size=None):
        self.workdir, self.rules = pathlib.Path(directory), rules
        self._identity = None
        self._origin = origin
        self._vocab_size = self._origin.vocab_size if vocab_size is None else vocab_size
        self._grown = self._vocab_size > self._origin.vocab_size

    def identity(self):
        """A hash (hex) of the parameters there, as they were when it was first asked for."""
        if self._identity is None:
            self._identity = self._origin.identity()
        return self._identity

    def replaces(self, shapes, axis_names):
        """Names of the parameters of this run of which nothing stays as it was initialised; arguments as of `plan`."""
        counts = {name: len(parts) for name, parts in self.plan(shapes, axis_names).items()}
        return {
            name
            for name, count in counts.items()
            if (not names.is_stacked(name) or count == shapes[name][0])
            and not (self._grown and axes.VOCAB in axis_names[name])
        }

    def is_all_of(self, wanted, shapes, axis_names):
        """Whether parameters of this run, of names `wanted`, are whole ones of the same names there."""
        plan, replaced = self.plan(shapes, axis_names), self.replaces(shapes, axis_names)
        return all(name in replaced and _is_same(plan[name], name) for name in wanted)

    def plan(self, shapes, axis_names):
        """Which parameter comes from which.

        Args:
            shapes: {name: shape} of this run's parameters.
            axis_names: {name: logical names of the axes} of them.

        Returns:
            {name: [(layer or None, their name, their layer or None)]}.

        Raises:
            ConfigError: a shape differs, or nothing at all would be taken.
        """
        offered = {}
        for name, shape in self._origin.offered.items():
            stacked = names.is_stacked(name)
            for layer, own in enumerate(names.layer_names(name, shape[0]) if stacked else [name]):
                offered[own] = (name, layer if stacked else None, shape[1:] if stacked else shape)
        chosen = names.match(self.rules, shapes, "init.rules", expand=True, optional=(label_pattern(last=True),))
        plan = collections.defaultdict(list)
        for name, shape in shapes.items():
            stacked = names.is_stacked(name)
            for layer, wanted in enumerate(np.atleast_1d(chosen[name]).tolist()):
                if wanted not in offered:
                    continue
                theirs, their_layer, their_shape = offered[wanted]
                needed, along = (part[1:] if stacked else part for part in (shape, axis_names[name]))
                if axes.VOCAB in along and self._vocab_size < self._origin.vocab_size:
                    raise ConfigError(
                        f"{self.workdir} has a vocabulary of {self._origin.vocab_size} rows, and model.vocab_size="
                        f"{self._vocab_size} has fewer: raise it, or leave it unset with init.inherit=True"
                    )
                if not self._fits(their_shape, needed, along):
                    pattern = name.replace("/layers/", "/layers/.*/", 1)
                    raise ConfigError(
                        f"{self.workdir} has {wanted} of shape {their_shape}, this model needs {needed} for {name}: "
                        "choose a model of the same size (init.inherit=True takes that one's), or begin init.rules "
                        f"with ({pattern!r}, None) to start anew"
                    )
                plan[name].append((layer if stacked else None, theirs, their_layer))
        if not plan:
            raise ConfigError(
                f"nothing of {self.workdir} fits this model by init.rules={self.rules}: its parameters have names like "
                f"{', '.join(sorted(offered)[:3])}, this model's like {', '.join(sorted(shapes)[:3])}"
            )
        return dict(plan)

    def _fits(self, theirs, needed, along):
        if len(theirs) != len(needed):
            return False
        grown = [self._grown and axis == axes.VOCAB for axis in along]
        return all(a == b or (g and a <= b) for a, b, g in zip(theirs, needed, grown, strict=True))

    def read(self, shapes, axis_names, mesh, report=print):
        """The parameters for `put`, {name: array}, cut over the mesh of this run; says what of them is taken."""
        plan = self.plan(shapes, axis_names)
        flat, origin = self._origin.read(mesh, report)
        taken = {theirs for parts in plan.values() for _, theirs, _ in parts}
        left = self._origin.distinct(self._origin.offered) - self._origin.distinct(taken)
        new = [name for name in shapes if name not in plan]
        partly = [name for name, parts in plan.items() if names.is_stacked(name) and len(parts) < shapes[name][0]]
        report(f"From {origin}: {len(plan)} of {len(shapes)} parameters")
        for what, which in (("only some layers of", partly), ("not taken from it", new), ("left there", sorted(left))):
            if which:
                report(f"  {what}: {', '.join(which)}")
        if self._grown:
            report(f"  the vocabulary grows from {self._origin.vocab_size} rows; the new ones are initialised")
        return flat

    def put(self, flat, offered, axis_names):
        """Parameters of this run with what comes from elsewhere in their place; traceable.

        Args:
            flat: {name: array} of this run.
            offered: what `read` gave.
            axis_names: {name: logical names of the axes} of this run's.
        """
        flat = dict(flat)
        plan = self.plan({name: array.shape for name, array in flat.items()}, axis_names)
        for name, parts in plan.items():
            layers, theirs, their_layers = zip(*parts, strict=True)
            if layers[0] is None:
                flat[name] = self._rows(flat[name], offered[theirs[0]], axis_names[name])
                continue
            if _is_same(parts, theirs[0]) and len(parts) == len(offered[theirs[0]]) == len(flat[name]):
                flat[name] = offered[theirs[0]]
                continue
            values = jnp.stack([offered[n][layer] for n, layer in zip(theirs, their_layers, strict=True)])
            flat[name] = values if len(layers) == len(flat[name]) else flat[name].at[jnp.array(layers)].set(values)
        return flat

    def _rows(self, ours, theirs, along):
        """Their array, or ours with their rows of the vocabulary where it has grown."""
        if not self._grown or axes.VOCAB not in along:
            return theirs
        place = tuple(slice(self._origin.vocab_size if axis == axes.VOCAB else None) for axis in along)
        return ours.at[place].set(theirs[place])


def _is_same(parts, theirs):
    """Whether all parts of a parameter (see Donor.plan) are from one of theirs, each layer from the same place."""
    return all(name == theirs and layer == their_layer for layer, name, their_layer in parts)
