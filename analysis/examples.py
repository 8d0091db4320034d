"""What a model gives for each example of a task of classes."""

import jax
import numpy as np

from cloze import tasks
from cloze.data import encoding
from cloze.data.example_batches import ExampleBatches
from cloze.data.examples import Features
from cloze.data.order import Once
from cloze.objectives import frames
from cloze.training import evaluation, resolve


def open_task(trained, name, files):
    """A task as a run reads it.

    Args:
        trained: training.restore.Trained.
        name, files: of the task; files empty: those of the run, if it has learned the task.

    Returns:
        (the Task, and of tasks of classes data.examples.Examples, how its examples are read; else None).
    """
    config = evaluation.config_for(trained.config, name, files)
    task = tasks.get(name, config.task.files, config.data.tfds_dir)
    if task.kind != "class":
        return task, None
    config.objective.name = "supervised"
    return task, frames.rows(resolve.resolve(config), trained.tokenizer.tables, trained.model.config)


def labelled(task, split, limit=0, seed=0):
    """(examples with a label, int [n] their labels) of a split; with a limit, so many drawn by the seed."""
    examples = [example for example in task.examples(split) if example["label"] is not None]
    if limit:
        chosen = np.random.default_rng(seed).permutation(len(examples))[:limit]
        examples = [examples[i] for i in chosen]
    return examples, np.array([example["label"] for example in examples])


def collect(function, trained, examples, rows, labels, batch_size=32):
    """f32 [n, ...], what a function gives for each example.

    Args:
        function: traceable, (parameters, batch) -> [B, ...].
        trained: training.restore.Trained.
        examples: n of kind class.
        rows: of `open_task`.
        labels: names of the classes.
        batch_size: rows that are run at once.
    """
    arrays = encoding.encode(examples, trained.tokenizer, rows.layout, labels)
    features = Features(arrays, rows.layout, len(examples), labels)
    order = Once([len(examples)], batch_size)
    batches = ExampleBatches([features], order, batching="buckets", length=rows.length, pad=rows.pad)
    run, found = jax.jit(function), None
    for step in range(order.steps_per_epoch):
        batch = batches.batches(step)
        numbers = batch.pop("row_id")
        given = np.asarray(run(trained.params, batch), np.float32)
        found = np.zeros((len(examples), *given.shape[1:]), np.float32) if found is None else found
        found[numbers[numbers >= 0]] = given[numbers >= 0]
    return found
