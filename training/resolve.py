"""What a configuration leaves to the model that it begins with, and to its task."""

import copy
import dataclasses
import pathlib
import re

from cloze import models, objectives, tasks
from cloze.configs import base
from cloze.data import pipeline, tokenizers
from cloze.errors import ConfigError
from cloze.interop import files, sentence_transformers
from cloze.interop import settings as hugging_face_settings
from cloze.interop import tokenizers as hugging_face_tokenizers
from cloze.models.heads import HEADS
from cloze.training import initial, methods, runs
from cloze.training.workdir import read_config

OWN = ("heads_out", "num_labels")  # of `model`: what is scored is never inherited
MARKERS = 3  # new tokens of task.markers


def resolve(config, kept=None, report=print):
    """The configuration with everything filled in that init.inherit and the task decide; doing it twice is harmless.

    Args:
        config: a configuration; it stays as it is.
        kept: config.json of the run, if it has begun: it knows what was inherited where init.checkpoint has gone.
        report: called with warnings.

    Raises:
        ConfigError: a value is outside what its option declares, there is nothing to inherit from, or no such task.
    """
    config = copy.deepcopy(config)
    base.check(config)
    if config.task.name:
        _fill_task(config, kept, report)
    vectors = config.objective.name == "contrastive" and config.model.pooling is None
    if config.init.inherit and config.init.checkpoint:
        pooling = _inherit(config, kept, report)
        config.init.inherit = False
        if vectors:
            config.model.pooling = pooling
    if vectors:
        config.model.pooling = config.model.pooling or "mean"
    return config


def checked(config, kept=None, report=print):
    """The resolved configuration, refused as train.py would refuse it, as far as no data and no devices are needed.

    Args, raises: as `resolve`.
    """
    config = resolve(config, kept, report)
    methods.check(config)
    objectives.check(config)
    methods.model_config(config)
    return config


def _fill_task(config, kept, report):
    if config.objective.name == "responses":
        config.task.kind = config.task.kind or "text"
    if config.objective.name == "contrastive":
        config.task.kind = config.task.kind or "embedding"
    if config.task.kind == "text":
        return
    name, *others = tasks.expand(config.task.name)
    if others:
        return  # tasks.read_by refuses it
    task = tasks.get(name, config.task.files, config.data.tfds_dir)
    kind, labels = config.task.kind or task.kind, task.labels()
    config.task.kind = kind
    if kind in ("class", "tag"):
        config.task.labels = _in_order(tuple(labels), _learned(config, kind, kept), config.task.name, report)
    if kind in ("class", "tag") and config.model.num_labels is None:
        config.model.num_labels = len(labels)
    if kind in ("class", "tag") and config.model.num_labels != len(labels):
        raise ConfigError(
            f"task.name={config.task.name} has {len(labels)} labels, model.num_labels={config.model.num_labels}: leave "
            "model.num_labels unset"
        )
    if kind == "regression":
        config.model.num_labels = 1


def _in_order(names, learned, name, report):
    """The labels of a task in the order of the scores of a head that is kept; `learned` as `_learned` gives it."""
    columns = None if learned is None else tasks.places(names, learned)
    if columns is not None:
        return tuple(names[columns.index(place)] for place in range(len(names)))
    if learned is not None:
        called = f"calls its labels {', '.join(learned)}" if learned else "does not say what it calls its labels"
        report(
            f"Warning: task.name={name}: the head that the run begins with {called}; its scores are taken in the "
            f"task's order, {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}, which it may not have learned"
        )
    return names


def _learned(config, kind, kept):
    """The names of labels in the order of the head that a run begins with; () if not known, None: the head is new."""
    if config.task.labels:
        return tuple(config.task.labels)
    if kept is not None and kept.is_file():
        theirs = base.load(kept)
        return tuple(theirs.task.labels) if theirs.task.labels or kind in (theirs.model.heads_out or ()) else None
    origin = pathlib.Path(config.init.checkpoint).expanduser()
    if not (config.init.checkpoint and config.init.parameters and origin.exists() and _keeps_head(config, kind)):
        return None
    if not initial.is_hugging_face(origin):
        theirs = runs.load_config(origin)
        held = theirs.task.kind == kind or kind in (theirs.model.heads_out or ())
        return tuple(theirs.task.labels) if held else None
    opened = files.open_directory(origin)
    made = hugging_face_settings.read(opened.settings, opened.tensors)[2]
    return hugging_face_settings.label_names(opened.settings) if kind in made.heads_out else None


def _keeps_head(config, kind):
    """Whether init.rules take the layer that gives the scores from elsewhere."""
    name = f"{HEADS[kind].modules[-1]}/kernel"
    return next((value is not None for pattern, value in config.init.rules if re.fullmatch(pattern, name)), False)


def _inherit(config, kept, report):
    """Fills what is at its default of `model`, and the tokenizer, from init.checkpoint; returns the pooling of vectors
    that it has learned, or None."""
    origin = pathlib.Path(config.init.checkpoint).expanduser()
    if not origin.exists() and kept is not None and kept.is_file():
        own = read_config(kept)
        theirs = {"model": own.model.to_dict(), "tokenizer": own.tokenizer.to_dict(), "pieces": 0}
        theirs["pooling"] = own.model.pooling
    else:
        theirs = _hugging_face(origin, report) if initial.is_hugging_face(origin) else _run(origin)
    defaults = base.get_base().model
    for field, value in theirs["model"].items():
        if field not in OWN and config.model[field] == defaults[field]:
            config.model[field] = value
    config.tokenizer.update(theirs["tokenizer"])
    if config.task.markers:
        vocab_size = models.resolve(config.model).vocab_size
        config.model.vocab_size = max(vocab_size, theirs["pieces"] + MARKERS)
    return theirs["pooling"]


def _run(workdir):
    theirs = runs.load_config(workdir)
    model = theirs.model.to_dict() | methods.added(theirs)  # parts that a method has added stay
    path = (workdir / "tokenizer").absolute()
    begun = path.is_dir()  # a run that is planned has none yet: it will have so many pieces at most
    pieces = tokenizers.load(path).vocab_size if begun else theirs.tokenizer.vocab_size
    pooling = theirs.model.pooling if theirs.objective.name == "contrastive" else None
    tokenizer = {**theirs.tokenizer.to_dict(), "path": str(path)}
    return {"model": model, "tokenizer": tokenizer, "pieces": pieces, "pooling": pooling}


def _hugging_face(directory, report):
    opened = files.open_directory(directory)
    _, _, made = hugging_face_settings.read(opened.settings, opened.tensors)
    tokenizer = hugging_face_tokenizers.load_hf(directory)
    model = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    told = {
        "kind": tokenizer.kind, "path": str(directory.absolute()), "vocab_size": tokenizer.vocab_size,
        "sentinels": len(tokenizer.tables.sentinels),
    }  # fmt: skip
    pooling, lost = sentence_transformers.pooling_of(directory)
    if lost:
        report(f"Warning: {directory}: vectors of texts go through {', '.join(lost)} there, which is not read")
    return {"model": model, "tokenizer": told, "pieces": tokenizer.vocab_size, "pooling": pooling}


def open_tokenizer(config, directory=None, report=print):
    """The run's tokenizer: as pipeline.open_tokenizer, where tokenizer.path may be a Hugging Face directory."""
    own = directory is not None and pathlib.Path(directory).is_dir()
    if not own and config.tokenizer.path and initial.is_hugging_face(config.tokenizer.path):
        return hugging_face_tokenizers.load_hf(config.tokenizer.path)
    return pipeline.open_tokenizer(config, directory, report)
