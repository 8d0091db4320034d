"""Parameters that a run begins with: initialised by its seed, then taken from elsewhere, and nothing else of it.

They come from another run's directory or from a Hugging Face directory; training/donor.py says which become which.
"""

import contextlib
import functools
import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models, objectives, storage
from cloze.data import tokenizers
from cloze.errors import ConfigError
from cloze.interop import load as hugging_face
from cloze.interop import tokenizers as hugging_face_tokenizers
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.models.composite import Composite
from cloze.training import methods, runs, trainable
from cloze.training.checkpoint import check_tokenizer
from cloze.training.donor import Donor

KEYS = "threefry2x32"


def is_hugging_face(directory):
    """Whether a directory is one of Hugging Face's, and not a run's."""
    file = pathlib.Path(directory).expanduser() / "config.json"
    if not file.is_file():
        return False
    try:
        return "train" not in storage.read_json(file)
    except (OSError, ValueError):
        return False


def donors(config, objective, tokenizer):
    """The Donor of everything that parameters come from, in the order in which they are put in.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """
    return _open(_wanted(config, objective), config, tokenizer)


def _wanted(config, objective):
    """[(directory, rules, which checkpoint)]."""
    wanted = [(workdir, rules, runs.NEWEST) for workdir, rules in objective.initial()]
    if config.init.checkpoint and config.init.parameters:
        wanted.append((config.init.checkpoint, config.init.rules, config.init.step))
    return wanted


def _open(wanted, config, tokenizer):
    vocab_size = models.resolve(config.model).vocab_size
    return [open_donor(workdir, rules, tokenizer, vocab_size, which) for workdir, rules, which in wanted]


def open_donor(directory, rules, tokenizer, vocab_size=None, which=runs.NEWEST):
    """The training.donor.Donor of a run's or a Hugging Face directory.

    Args:
        directory, rules, vocab_size: see there.
        tokenizer: this run's.
        which: see `open_origin`.

    Raises:
        ConfigError: there is no run, or it has another tokenizer.
    """
    origin = open_origin(directory, which)
    if origin.tokenizer.hash != tokenizer.hash:
        path = pathlib.Path(directory) / "tokenizer"
        way_out = f"tokenizer.path={path}" if isinstance(origin, RunOrigin) else "init.inherit=True"
        raise ConfigError(
            f"{directory} has another tokenizer than this run, so its parameters would stand for other tokens: set "
            f"{way_out}"
        )
    return Donor(origin, directory, rules, vocab_size)


class RunOrigin:
    """A run's directory that parameters are taken from; `offered` is {name: shape}, `heads_out` the heads there.

    Args:
        workdir: the directory.
        which: of its checkpoints, see runs.checkpoint_of.
    """

    def __init__(self, workdir, which=runs.NEWEST):
        self._which = which
        self.path = pathlib.Path(workdir).expanduser()
        self.config = runs.load_config(self.path)
        self.tokenizer = tokenizers.load(self.path / "tokenizer")
        self._model = runs.make_model(self.path, self.config, self.tokenizer.tables)
        inner = self._model.model if isinstance(self._model, Adapted) else self._model
        self._prefix = f"{inner.main}/" if isinstance(inner, Composite) else ""
        self._inner = inner
        self.vocab_size, self.heads_out = self._model.config.vocab_size, self._model.config.heads_out
        whole = models.parameters(inner).shapes
        tree = names.unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in whole.items()})
        self.offered = {name: leaf.shape for name, leaf in jax.eval_shape(self._flat, tree).items()}

    def read(self, mesh, report):
        """({name: array}, what was read in words)."""
        told = (self.path, self.config, self._model, self.tokenizer, report, mesh)
        params, step = load_parameters(*told, which=self._which)
        if isinstance(self._model, Adapted):
            params = self._model.merge(params)
        return self._flat(params), f"{self.path}, step {step}"

    def distinct(self, found):
        """Names without the second one that the main part of a composite is offered under."""
        return {name.removeprefix(self._prefix) for name in found}

    def identity(self):
        """A hash (hex) of the parameters that `read` gives."""
        checkpoints, step = runs.checkpoint_of(self.path, self._which, lambda line: None)
        seal = checkpoints.read_seal(step)
        known = [step, seal["hashes"], seal.get("base")]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

    def _flat(self, params):
        """{name: array}; of a composite, the main part without its prefix beside everything with it."""
        if not self._prefix:
            return names.flatten(params)
        return names.flatten(params) | names.flatten(self._inner.part(params, self._inner.main)[1])


class HuggingFaceOrigin:
    """A Hugging Face directory that parameters are taken from; see `RunOrigin`."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory).expanduser()
        self.tokenizer = hugging_face_tokenizers.load_hf(self.path)
        model_config, self.offered = hugging_face.offered(self.path)
        self.vocab_size, self.heads_out = model_config.vocab_size, model_config.heads_out

    def read(self, mesh, report):
        """({name: array}, what was read in words)."""
        return names.flatten(hugging_face.read_hf(self.path, mesh, report=report).params), str(self.path)

    def distinct(self, found):
        return set(found)

    def identity(self):
        """A hash (hex) of the files with parameters."""
        found = hashlib.sha256()
        for file in sorted(self.path.glob("*.safetensors")):
            with file.open("rb") as opened:
                found.update(hashlib.file_digest(opened, "blake2b").digest())
        return found.hexdigest()[:32]


def open_origin(directory, which=runs.NEWEST):
    """The RunOrigin or HuggingFaceOrigin in a directory.

    Args:
        directory: of either.
        which: of the checkpoints of a run, see runs.checkpoint_of.

    Raises:
        ConfigError, DataError: there is none.
    """
    if not is_hugging_face(directory):
        return RunOrigin(directory, which)
    if which != runs.NEWEST:
        raise ConfigError(f"init.step={which}: {directory} is of Hugging Face and has no steps; leave init.step out")
    return HuggingFaceOrigin(directory)


def load_parameters(workdir, config, model, tokenizer, report=print, mesh=None, ema=False, which=runs.NEWEST):
    """The parameters in a whole checkpoint of a run, and the step they are from.

    A checkpoint may hold only what trained; the rest is made again as the run made it: initialised by its seed, then
    taken from where it came from.

    Args:
        workdir: the run's directory.
        config: its configuration.
        model: what training.runs.make_model gives.
        tokenizer: its tokenizer.
        report: called with messages.
        mesh: a mesh to cut the parameters over, where their sizes divide; None: the first device.
        ema: take the moving averages of those that trained.
        which: see runs.checkpoint_of.

    Raises:
        ConfigError: nothing is saved yet, no averages are kept, or what the rest comes from has changed.
        CheckpointError: no checkpoint is whole.
    """
    checkpoints, step = runs.checkpoint_of(workdir, which, report)
    with contextlib.closing(checkpoints):
        parameters = models.parameters(model)
        shapes, axis_names = parameters.shapes, parameters.axis_names
        seal = checkpoints.read_seal(step)
        check_tokenizer(seal, tokenizer)
        if ema and not checkpoints.has("ema", step):
            raise ConfigError(
                f"{workdir} keeps no moving averages: train with train.ema_decay above 0, or leave --ema out"
            )
        whole = "base" not in seal
        if whole:
            params = checkpoints.restore(step, params=runs.abstract(shapes, axis_names, mesh))["params"]
        if whole and not ema:
            return params, step
        objective = objectives.build(config, tokenizer.tables, methods.model_config(config))
        split = trainable.of_stage(config, objective, methods.stages(config, shapes)[seal["stage"]], shapes)
        part, tree = "ema" if ema else "params", runs.abstract(split.trainable_shapes(), axis_names, mesh)
        trained = checkpoints.restore(step, **{part: tree})[part]
        if not whole:
            donors = base_of(workdir, seal, config, objective, tokenizer)
            frozen = {name for name, mask in split.mask.items() if not mask.all()}
            params = names.unflatten(beginning(config, model, donors, frozen, report, mesh))
        return split.merge(trained, split(params)[1]), step


def beginning(config, model, donors, wanted, report=print, mesh=None):
    """{name: array} of parameters as a run begins with them: initialised by its seed, then taken from elsewhere.

    Args:
        config: the configuration.
        model: what training.runs.make_model gives.
        donors: training.donor.Donor, in this order.
        wanted: names of the parameters that are needed; what a donor replaces is not initialised first.
        report, mesh: see `load_parameters`.
    """
    parameters = models.parameters(model)
    shapes, axis_names = parameters.shapes, parameters.axis_names
    flat = names.flatten(runs.abstract(shapes, axis_names, mesh))
    replaced = set().union(*(donor.replaces(shapes, axis_names) for donor in donors))
    touched = set(wanted).union(*(donor.plan(shapes, axis_names) for donor in donors))
    missing = sorted(touched - replaced)
    if missing:
        draw_some = jax.jit(
            lambda key_data: {name: names.flatten(draw(key_data, model))[name] for name in missing},
            out_shardings={name: flat[name].sharding for name in missing},
        )
        flat |= draw_some(key_data(config.seed))
    for donor in donors:
        flat = donor.put(flat, donor.read(shapes, axis_names, mesh, report), axis_names)
    return {name: flat[name] for name in wanted}


def key_data(seed):
    """uint32 [2], what a seed is to `draw`."""
    return np.asarray(jax.random.key_data(jax.random.key(seed, impl=KEYS)))


def draw(key_data, model):
    """The nested tree of a model's parameters as a seed initialises them."""
    key = jax.random.wrap_key_data(key_data, impl=KEYS)
    return meta.unbox(model.init(key, models.example_batch()))["params"]


def drawn(seed, model, shardings):
    """The nested tree of a model's new parameters, each born on its devices; `shardings` is a tree like it."""
    leaves, tree = jax.tree.flatten(shardings)
    return _drawer(model, tree, tuple(leaves))(key_data(seed))


@functools.lru_cache(maxsize=16)
def _drawer(model, tree, shardings):
    """Compiled once for all states of models that are equal."""
    return jax.jit(lambda key_data: draw(key_data, model), out_shardings=jax.tree.unflatten(tree, shardings))


def describe_base(donors):
    """What a checkpoint without the frozen parameters says of where they are: [[directory, hash]]."""
    return [[str(donor.workdir.expanduser().absolute()), donor.identity()] for donor in donors]


def base_of(workdir, seal, config, objective, tokenizer):
    """The Donors of the frozen parameters that a checkpoint was trained beside, which it does not hold.

    Args:
        workdir: the run, for messages.
        seal: that of the checkpoint.
        config, objective, tokenizer: of the run. What is not where the configuration says, which may be relative to
            another directory, is looked for where it was.

    Raises:
        ConfigError: one is missing, or has changed.
    """
    told, wanted = seal["base"], _wanted(config, objective)
    held = f"the checkpoints of {workdir} hold only what trained on top of {' and '.join(place for place, _ in told)}"
    file = pathlib.Path(workdir) / "config.json"
    if len(told) != len(wanted):
        raise ConfigError(f"{held}, but {file} names {len(wanted)} such origins: put init.checkpoint there right")
    places = []
    for (directory, _), (place, rules, which) in zip(told, wanted, strict=True):
        there = [path for path in (place, directory) if pathlib.Path(path).expanduser().is_dir()]
        if not there:
            raise ConfigError(f"{held}, and {place} is missing: bring it back, or name its new place in {file}")
        places.append((there[0], rules, which))
    donors = _open(places, config, tokenizer)
    for (directory, identity), donor in zip(told, donors, strict=True):
        if donor.identity() != identity:
            raise ConfigError(
                f"{held}, and {donor.workdir} has changed since: bring the parameters that {directory} had back, or "
                "train again"
            )
    return donors
