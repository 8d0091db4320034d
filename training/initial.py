"""Parameters that a run takes from elsewhere at its start: by rules over names, and nothing else of it.

They come from another run's directory or from a Hugging Face directory. Rules are ordered pairs (pattern over this
model's names, name in the other one or None); the first pattern that matches a whole name decides. A name may refer to
groups of the pattern, as "\\1". None, or a name that is not there, leaves a parameter as it was initialised. Stacked
layers have one name each, so that the layers of a student can be every second one of its teacher. A vocabulary may have
grown: then its first rows are taken.
"""

import collections
import functools
import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

import data.tokenizers
import models
import objectives
from errors import ConfigError
from interop import load as hugging_face
from interop import tokenizers as hugging_face_tokenizers
from models import axes, names
from models.adapted import Adapted
from models.composite import Composite
from training import methods, runs
from training.trainable import Split


def is_hugging_face(directory):
    """Whether a directory is one of Hugging Face's, and not a run's."""
    file = pathlib.Path(directory).expanduser() / "config.json"
    if not file.is_file():
        return False
    try:
        return "train" not in json.loads(file.read_text())
    except ValueError:
        return False


def sources(config, objective, tokenizer):
    """The Source of everything that parameters come from, in the order in which they are put in.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """
    wanted = list(objective.initial())
    if config.init.checkpoint and config.init.parameters:
        wanted.append((config.init.checkpoint, config.init.rules))
    vocab_size = models.resolve(config.model).vocab_size
    return [Source(workdir, rules, tokenizer, vocab_size) for workdir, rules in wanted]


class Run:
    """A run's directory that parameters are taken from; `offered` is {name: shape}."""

    def __init__(self, workdir):
        self.path = pathlib.Path(workdir).expanduser()
        self.config = runs.load_config(self.path)
        self.tokenizer = data.tokenizers.load(self.path / "tokenizer")
        self._model = runs.make_model(self.path, self.config, self.tokenizer.tables)
        inner = self._model.model if isinstance(self._model, Adapted) else self._model
        self._prefix = f"{inner.main}/" if isinstance(inner, Composite) else ""
        self._inner = inner
        self.vocab_size = self._model.config.vocab_size
        whole = models.parameters(inner).shapes
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in whole.items()})
        self.offered = {name: leaf.shape for name, leaf in jax.eval_shape(self._flat, tree).items()}

    def read(self, mesh, report):
        """({name: array}, what was read in words)."""
        params, step = load_parameters(self.path, self.config, self._model, self.tokenizer, report, mesh)
        if isinstance(self._model, Adapted):
            params = self._model.merge(params)
        return self._flat(params), f"{self.path}, step {step}"

    def own(self, found):
        """Names without the second one that the main part of a composite is offered under."""
        return {name.removeprefix(self._prefix) for name in found}

    def identity(self):
        """A hash (hex) of the parameters that `read` gives."""
        checkpoints, step = runs.newest(self.path, lambda line: None)
        seal = checkpoints.read_seal(step)
        known = [step, seal["hashes"], seal.get("base")]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

    def _flat(self, params):
        """{name: array}; of a composite, the main part without its prefix beside everything with it."""
        if not self._prefix:
            return names.flatten(params)
        return names.flatten(params) | names.flatten(self._inner.part(params, self._inner.main)[1])


class HuggingFace:
    """A Hugging Face directory that parameters are taken from; `offered` is {name: shape}."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory).expanduser()
        self.tokenizer = hugging_face_tokenizers.load_hf(self.path)
        model_config, self.offered = hugging_face.offered(self.path)
        self.vocab_size = model_config.vocab_size

    def read(self, mesh, report):
        """({name: array}, what was read in words)."""
        return names.flatten(hugging_face.read_hf(self.path, mesh, report=report).params), str(self.path)

    def own(self, found):
        return set(found)

    def identity(self):
        """A hash (hex) of the files with parameters."""
        found = hashlib.sha256()
        for file in sorted(self.path.glob("*.safetensors")):
            with file.open("rb") as opened:
                found.update(hashlib.file_digest(opened, "blake2b").digest())
        return found.hexdigest()[:32]


class Source:
    """What parameters are taken from; see the rules above.

    Args:
        directory: of a run, or of Hugging Face.
        rules: ordered (pattern, name or None).
        tokenizer: this run's.
        vocab_size: rows of this run's vocabulary, if they may be more; None: they are as many.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """

    def __init__(self, directory, rules, tokenizer, vocab_size=None):
        self.workdir, self.rules = pathlib.Path(directory), rules
        self._origin = HuggingFace(directory) if is_hugging_face(directory) else Run(directory)
        if self._origin.tokenizer.hash != tokenizer.hash:
            way_out = f"tokenizer.path={self.workdir / 'tokenizer'}" if isinstance(self._origin, Run) else ""
            raise ConfigError(
                f"{directory} has another tokenizer than this run, so its parameters would stand for other tokens: set "
                f"{way_out or 'init.inherit=True'}"
            )
        self._grown = vocab_size is not None and vocab_size > self._origin.vocab_size
        self.identity = self._origin.identity

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
        chosen = names.match(self.rules, shapes, "init.rules", expand=True)
        plan = collections.defaultdict(list)
        for name, shape in shapes.items():
            stacked = names.is_stacked(name)
            for layer, wanted in enumerate(np.atleast_1d(chosen[name]).tolist()):
                if wanted not in offered:
                    continue
                theirs, their_layer, their_shape = offered[wanted]
                needed, along = (part[1:] if stacked else part for part in (shape, axis_names[name]))
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
        left = self._origin.own(self._origin.offered) - self._origin.own(taken)
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
            values = jnp.stack([offered[n][layer] for n, layer in zip(theirs, their_layers, strict=True)])
            flat[name] = values if len(layers) == len(flat[name]) else flat[name].at[jnp.array(layers)].set(values)
        return flat

    def _rows(self, ours, theirs, along):
        """Their array, or ours with their rows of the vocabulary where it has grown."""
        if not self._grown or axes.VOCAB not in along:
            return theirs
        place = tuple(slice(self._origin.vocab_size if axis == axes.VOCAB else None) for axis in along)
        return ours.at[place].set(theirs[place])


def load_parameters(workdir, config, model, tokenizer, report=print, mesh=None):
    """The parameters in the newest whole checkpoint of a run, and the step they are from.

    A checkpoint may hold only what trained; the rest is made again as the run made it: initialised by its seed, then
    taken from where it came from.

    Args:
        workdir: the run's directory.
        config: its configuration.
        model: what training.runs.make_model gives.
        tokenizer: its tokenizer.
        report: called with messages.
        mesh: a mesh to cut the parameters over, where their sizes divide; None: the first device.

    Raises:
        ConfigError: nothing is saved yet, or what the rest comes from has changed.
        CheckpointError: no checkpoint is whole.
    """
    checkpoints, step = runs.newest(workdir, report)
    parameters = models.parameters(model)
    shapes, axis_names = parameters.shapes, parameters.axis_names
    seal = checkpoints.read_seal(step)
    if "base" not in seal:
        tree = runs.abstract(shapes, axis_names, mesh)
        params = checkpoints.restore(step, params=tree)["params"]
        checkpoints.close()
        return params, step
    objective = objectives.build(config, tokenizer.tables, methods.model_config(config))
    origins = sources(config, objective, tokenizer)
    check_base(seal["base"], origins)
    stage = methods.stages(config, shapes)[seal["stage"]]
    always = tuple((pattern, False) for pattern in objective.frozen)
    split = Split((*always, *stage.rules), shapes, methods.optional_patterns(config))
    held = checkpoints.restore(step, params=runs.abstract(split.trainable_shapes(), axis_names, mesh))["params"]
    checkpoints.close()
    base = runs.abstract(shapes, axis_names, mesh)
    places = jax.tree.map(lambda leaf: leaf.sharding, base)
    flat = names.flatten(jax.jit(functools.partial(draw, config.seed, model), out_shardings=places)())
    for source in origins:
        flat = source.put(flat, source.read(shapes, axis_names, mesh, report), axis_names)
    _, frozen = split(names.unflatten(flat))
    return split.merge(held, frozen), step


def draw(seed, model):
    """The nested tree of a model's parameters as a seed initialises them."""
    key = jax.random.key(seed, impl="threefry2x32")
    return meta.unbox(model.init(key, models.example_batch()))["params"]


def describe_base(origins):
    """What a checkpoint without the frozen parameters says of where they are: [[directory, hash]]."""
    return [[str(source.workdir.expanduser().absolute()), source.identity()] for source in origins]


def check_base(told, origins):
    """Refuses frozen parameters that are not those that a checkpoint was trained beside.

    Args:
        told: `describe_base`, as a checkpoint has it.
        origins: the Sources now.

    Raises:
        ConfigError: one has changed.
    """
    for (directory, identity), source in zip(told, origins, strict=True):
        if source.identity() != identity:
            raise ConfigError(
                f"{source.workdir} has changed since this run was trained on top of {directory}, and its checkpoints "
                "hold only what trained: bring the old parameters back, or train again"
            )
