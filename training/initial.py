"""Parameters that a run takes from another one at its start: by rules over names, and nothing else of it.

Rules are ordered pairs (pattern over this model's names, name in the other run or None); the first pattern that matches
a whole name decides. A name may refer to groups of the pattern, as "\\1". None, or a name that the other run does not
have, leaves a parameter as it was initialised. Stacked layers have one name each, so that the layers of a student can
be every second one of its teacher.
"""

import collections
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import data.tokenizers
import models
from errors import ConfigError
from models import names
from models.composite import Composite
from training import restore


def sources(config, objective, tokenizer):
    """The Source of every run that parameters come from, in the order in which they are put in.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """
    wanted = list(objective.initial())
    if config.init.checkpoint:
        wanted.append((config.init.checkpoint, config.init.rules))
    return [Source(workdir, rules, tokenizer) for workdir, rules in wanted]


class Source:
    """One run that parameters are taken from; see the rules above.

    Args:
        workdir: the run's directory.
        rules: ordered (pattern, name or None).
        tokenizer: this run's.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """

    def __init__(self, workdir, rules, tokenizer):
        self.workdir, self.rules = pathlib.Path(workdir), rules
        self.config = restore.load_config(workdir)
        theirs = data.tokenizers.load(self.workdir / "tokenizer")
        if theirs.hash != tokenizer.hash:
            raise ConfigError(
                f"{workdir} has another tokenizer than this run, so its parameters would stand for other tokens: set "
                f"tokenizer.path={self.workdir / 'tokenizer'}"
            )
        self._model = restore.make_model(self.config, theirs.tables)
        self._prefix = f"{self._model.main}/" if isinstance(self._model, Composite) else ""

    def plan(self, shapes):
        """Which parameter comes from which.

        Args:
            shapes: {name: shape} of this run's parameters.

        Returns:
            {name: [(layer or None, their name, their layer or None)]}.

        Raises:
            ConfigError: a shape differs, or nothing at all would be taken.
        """
        offered = {}
        for name, shape in self._shapes().items():
            stacked = names.is_stacked(name)
            for layer, own in enumerate(names.layer_names(name, shape[0]) if stacked else [name]):
                offered[own] = (name, layer if stacked else None, shape[1:] if stacked else shape)
        chosen = names.match(self.rules, shapes, "init.rules", expand=True)
        plan = collections.defaultdict(list)
        for name, shape in shapes.items():
            stacked = names.is_stacked(name)
            for layer, wanted in enumerate(np.atleast_1d(chosen[name]).tolist()):
                if wanted not in offered:
                    continue
                theirs, their_layer, their_shape = offered[wanted]
                needed = shape[1:] if stacked else shape
                if their_shape != needed:
                    raise ConfigError(
                        f"{self.workdir} has {wanted} of shape {their_shape}, this model needs {needed} for {name}: "
                        f"choose a model of the same size, or begin init.rules with ({name!r}, None) to start it anew"
                    )
                plan[name].append((layer if stacked else None, theirs, their_layer))
        if not plan:
            raise ConfigError(
                f"nothing of {self.workdir} fits this model by init.rules={self.rules}: its parameters have names like "
                f"{', '.join(sorted(offered)[:3])}, this model's like {', '.join(sorted(shapes)[:3])}"
            )
        return dict(plan)

    def read(self, shapes, report=print):
        """Reads what the plan takes and says so.

        Returns:
            {name: (array, None or the layers that it is for)}.
        """
        plan = self.plan(shapes)
        params, step = restore.load_parameters(self.workdir, self._model, report)
        flat = self._flat(params)
        read, taken = {}, set()
        for name, parts in plan.items():
            layers, theirs, their_layers = zip(*parts, strict=True)
            taken.update(theirs)
            if layers[0] is None:
                read[name] = (flat[theirs[0]], None)
                continue
            values = jnp.stack([flat[t][layer] for t, layer in zip(theirs, their_layers, strict=True)])
            read[name] = (values, None if len(layers) == shapes[name][0] else jnp.array(layers))
        # The main part of a composite is offered under two names.
        own, used = ({name.removeprefix(self._prefix) for name in some} for some in (flat, taken))
        self._tell(shapes, read, sorted(own - used), step, report)
        return {name: (np.asarray(values), layers) for name, (values, layers) in read.items()}

    def _shapes(self):
        shapes = jax.eval_shape(self._flat, self._abstract())
        return {name: leaf.shape for name, leaf in shapes.items()}

    def _abstract(self):
        parameters = models.parameters(self._model)
        return names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameters.shapes.items()})

    def _flat(self, params):
        """{name: array}; of a composite, the main part without its prefix beside everything with it."""
        if not self._prefix:
            return names.flatten(params)
        return names.flatten(params) | names.flatten(self._model.part(params, self._model.main)[1])

    def _tell(self, shapes, read, left, step, report):
        new = [name for name in shapes if name not in read]
        partly = [name for name, (_, layers) in read.items() if layers is not None]
        report(f"From {self.workdir}, step {step}: {len(read)} of {len(shapes)} parameters")
        for what, which in (("only some layers of", partly), ("not taken from it", new), ("left there", left)):
            if which:
                report(f"  {what}: {', '.join(which)}")
