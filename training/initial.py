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
        self._model = restore.make_model(workdir, self.config, theirs.tables)
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
                    pattern = name.replace("/layers/", "/layers/.*/", 1)
                    raise ConfigError(
                        f"{self.workdir} has {wanted} of shape {their_shape}, this model needs {needed} for {name}: "
                        f"choose a model of the same size, or begin init.rules with ({pattern!r}, None) to start anew"
                    )
                plan[name].append((layer if stacked else None, theirs, their_layer))
        if not plan:
            raise ConfigError(
                f"nothing of {self.workdir} fits this model by init.rules={self.rules}: its parameters have names like "
                f"{', '.join(sorted(offered)[:3])}, this model's like {', '.join(sorted(shapes)[:3])}"
            )
        return dict(plan)

    def read(self, shapes, mesh, report=print):
        """The other run's parameters, for `put`, cut over the mesh of this run; says what of them is taken.

        Returns:
            Their tree of global arrays.
        """
        plan = self.plan(shapes)
        params, step = restore.load_parameters(self.workdir, self._model, report, mesh)
        taken = {theirs for parts in plan.values() for _, theirs, _ in parts}
        # The main part of a composite is offered under two names.
        own, used = ({name.removeprefix(self._prefix) for name in some} for some in (self._shapes(), taken))
        self._tell(shapes, plan, sorted(own - used), step, report)
        return params

    def put(self, flat, params):
        """Parameters of this run with what comes from the other one in their place; traceable.

        Args:
            flat: {name: array} of this run.
            params: what `read` gave.
        """
        flat, offered = dict(flat), self._flat(params)
        for name, parts in self.plan({name: array.shape for name, array in flat.items()}).items():
            layers, theirs, their_layers = zip(*parts, strict=True)
            if layers[0] is None:
                flat[name] = offered[theirs[0]]
                continue
            values = jnp.stack([offered[n][layer] for n, layer in zip(theirs, their_layers, strict=True)])
            flat[name] = values if len(layers) == len(flat[name]) else flat[name].at[jnp.array(layers)].set(values)
        return flat

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

    def _tell(self, shapes, plan, left, step, report):
        new = [name for name in shapes if name not in plan]
        partly = [name for name, parts in plan.items() if names.is_stacked(name) and len(parts) < shapes[name][0]]
        report(f"From {self.workdir}, step {step}: {len(plan)} of {len(shapes)} parameters")
        for what, which in (("only some layers of", partly), ("not taken from it", new), ("left there", left)):
            if which:
                report(f"  {what}: {', '.join(which)}")
