"""A trained model on a task: predictions, their scores, and those of what knows nothing of the input."""

import dataclasses
import math
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import data.pipeline
import objectives
import tasks
from errors import ConfigError, DataError
from objectives.text_to_text import PREFIXES
from parallel import mesh as meshes
from tasks import AsText, baselines, metrics, predict
from training import resolve

HEADS = ("class", "choice", "tag", "span")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        task: the Task that was scored.
        examples: its raw examples, and
        predictions: one for each; see tasks.metrics.score.
        scores: {metric: value}, the main one first; None where the labels are kept back.
        baselines: {name: {metric: value}}.
    """

    task: Any
    examples: list
    predictions: list
    scores: dict | None
    baselines: dict


def evaluate(trained, name, *, split, files="", limit=0, max_tokens=64, batch_size=32, report=print):
    """Scores a model on a split of a task.

    A model with a head for the task's kind answers with it. One that writes answers with text: a run that has learned
    to respond writes whatever it likes, of which a wrong word is a wrong answer; of one that was only pretrained, the
    most probable of the words for labels counts. Of plain text it gives the likelihood.

    Args:
        trained: training.restore.Trained.
        name: of the task.
        split: one of tasks.base.SPLITS.
        files: folder of the task's files; empty: those of the run, if it is the run's task.
        limit: examples that are read, from the first; 0: all.
        max_tokens: tokens that an answer may have.
        batch_size: rows that are run at once.
        report: called with messages.

    Raises:
        ConfigError: the model can do nothing of the kind.
        DataError: the split or its files are not there.
    """
    config = _config(trained.config, name, files)
    task = tasks.get(name, config.task.files, config.data.tfds_dir)
    examples = list(task.examples(split))
    examples = examples[:limit] if limit else examples
    heads = set(trained.model.config.heads_out)
    if task.kind in predict.HEAD_OF and heads & set(HEADS):
        predictions = _from_heads(trained, config, task, split, examples, batch_size, report)
    elif "lm" in heads and trained.model.config.architecture in ("decoder", "encoder_decoder"):
        task, examples, predictions = _from_text(trained, config, task, split, examples, max_tokens, batch_size, report)
    else:
        raise ConfigError(
            f"this run's model has the heads {', '.join(sorted(heads)) or 'none'}, which cannot answer the task {name} "
            f"of kind {task.kind}: finetune it first (configs/finetune/), with --config.init.checkpoint set to the run"
        )
    try:
        scores = metrics.score(task, predictions, examples)
    except DataError as error:
        report(str(error))
        scores = None
    return Evaluation(task, examples, predictions, scores, _baselines(task, split, examples, report))


def _config(config, name, files):
    """The run's configuration, with the task in place of its own."""
    config = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    files = files or (config.task.files if config.task.name == name else "")
    config.task.update(name=name, files=files, kind="", limit=0, batching="buckets")
    config.init.inherit = False  # it is resolved
    config.data.update(packing="windows", validation_source="")
    config.objective.update(pairs="none", lm_weight=0.0)
    config.finetune.dp_clip_norm = 0.0
    return config


def _from_heads(trained, config, task, split, examples, batch_size, report):
    """Predictions of a head."""
    config.objective.name = "supervised"
    config.train.batch_size = batch_size
    config = resolve.resolve(config)
    head = predict.HEAD_OF[config.task.kind]
    if head not in trained.model.config.heads_out:
        raise ConfigError(
            f"task {task.name} is of kind {config.task.kind}, this run has learned another: its heads are "
            f"{', '.join(trained.model.config.heads_out)}; finetune a model for the task (configs/finetune/)"
        )
    labels = trained.model.config.num_labels
    if head in ("class", "tag") and labels != config.model.num_labels:
        raise ConfigError(
            f"task {task.name} has {config.model.num_labels} labels, this run's head tells {labels} apart: finetune a "
            "model for the task (configs/finetune/)"
        )
    objective = objectives.build(config, trained.tokenizer.tables, trained.model.config)
    opened = data.pipeline.open_batches(config, trained.tokenizer, objective.rows, split, (task,), report=report)
    mesh = meshes.make_mesh(dict(data=-1, fsdp=1, tensor=1, sequence=1))
    places = NamedSharding(mesh, PartitionSpec(meshes.ROW_AXES if batch_size % mesh.size == 0 else None))
    params = jax.device_put(trained.params, NamedSharding(mesh, PartitionSpec()))

    @jax.jit
    def scores(params, batch):
        return predict.head_scores(trained.model.apply({"params": params}, batch), config.task.kind)

    def run(step):
        rows = opened(step)
        return np.asarray(scores(params, jax.device_put(rows, places))), rows["row_id"]

    everything = examples if len(examples) == opened.features.num_examples else list(task.examples(split))
    found = predict.from_heads(task, everything, opened.features, opened, run, config.task)
    return found[: len(examples)]


def _from_text(trained, config, task, split, examples, max_tokens, batch_size, report):
    """(the task, its examples, predictions) of a model that writes."""
    responds = config.objective.name == "responses"
    config.objective.update(name="responses", prefix=config.objective.prefix if responds else PREFIXES[-1])
    config.task.kind = "text"
    objective = objectives.build(config, trained.tokenizer.tables, trained.model.config)
    writer = predict.LanguageModel(
        trained.model, trained.params, trained.tokenizer, objective.rows.layout, objective.rows.pad,
        config.objective.prefix, batch_size,
    )  # fmt: skip
    if task.kind == "lm":
        texts = [example["text"] for example in examples]
        found = writer.likelihoods(texts, report)
        if "last_word_accuracy" in task.metrics:
            words = writer.last_words(texts)
            found = [dataclasses.replace(one, last_word=word) for one, word in zip(found, words, strict=True)]
        return task, examples, found
    (read,) = tasks.read_by(config, objective.rows)
    if not isinstance(read, AsText):
        return read, examples, writer.write(examples, max_tokens)
    written = list(read.examples(split))[: len(examples)]
    originals = [example["example"] for example in written]
    words = read.label_words()
    if words and not responds:
        report(f"{task.name}: the most probable of the words {', '.join(words)} counts, as the run was never finetuned")
        return read.task, originals, writer.choose(written, words)
    answers = writer.write(written, max_tokens)
    parsed = [read.parse(text, example) for text, example in zip(answers, written, strict=True)]
    return read.task, originals, parsed


def _baselines(task, split, examples, report):
    """{name: {metric: value}} of what knows nothing of the input."""
    try:
        trivial = baselines.baselines(task, split)
        return {name: metrics.score(task, found[: len(examples)], examples) for name, found in trivial.items()}
    except DataError as error:
        report(f"{task.name} has no baselines: {error}")
        return {}


def finite(value):
    """A number as JSON can hold it: None for NaN."""
    return value if isinstance(value, int) or math.isfinite(value) else None
