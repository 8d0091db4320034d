"""What each layer knows of a task: the best linear classifier on its states.

Alain and Bengio 2016, arXiv:1610.01644; Tenney et al. 2019, arXiv:1905.05950, section 3. The classifier is solved, not
trained in steps (training/probe.py).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from cloze import models
from cloze.analysis import pictures
from cloze.analysis.base import ANALYSES, Analysis, Result
from cloze.analysis.examples import collect, labelled, open_task
from cloze.errors import ConfigError
from cloze.models.pooling import pool
from cloze.options import Name, Path, option
from cloze.training import probe

HELD_OUT = 0.2  # of the training examples, by which the penalty is chosen


@ANALYSES.register("layers")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers(Analysis):
    """The accuracy of a solved linear probe on the mean of a text's states, layer by layer."""

    task: Name = option("package", "a task of classes, whose labels the probes learn")
    files: Path = option("", "folder of the task's files, where it has any")
    limit: int = option(2000, "training examples that are used, drawn by chance", least=20, most=2**31 - 1)
    seed: int = option(0, "of what is drawn", least=0)

    def run(self, trained, report):
        self.check_model(trained)
        pictures.check()
        task, rows = open_task(trained, self.task, self.files)
        if rows is None:
            raise ConfigError(
                f"--what=layers probes for classes, and task {self.task} is of kind {task.kind}: give a task of "
                "classes with --task, such as package, sst2 or jsonl:class"
            )
        splits = {}
        for split, limit in (("train", self.limit), ("validation", 0)):
            examples, labels = labelled(task, split, limit, self.seed)
            report(f"{self.task}: states of {len(examples):,} {split} examples")
            splits[split] = pooled(trained, examples, rows, task.labels()), labels
        accuracy, penalties = probed(*splits["train"], *splits["validation"], len(task.labels()))
        majority = float(np.mean(splits["validation"][1] == np.bincount(splits["train"][1]).argmax()))
        places = ["input", *map(str, range(1, len(accuracy)))]
        lines = [f"layer {n}: accuracy {value:.4f}" for n, value in zip(places, accuracy, strict=True)]
        lines.append(f"majority: {majority:.4f}; best: layer {places[int(np.argmax(accuracy))]}")
        numbers = {
            "task": self.task, "accuracy": accuracy, "penalty": penalties, "majority": majority,
            "examples": {split: len(labels) for split, (_, labels) in splits.items()},
        }  # fmt: skip
        values = {"linear probe": accuracy, "majority class": [majority] * len(accuracy)}
        panels = [(f"Accuracy on {len(splits['validation'][1]):,} validation examples", "accuracy", values)]
        title = f"What each layer knows of {self.task}"
        note = f"probes on means of states, {len(splits['train'][1]):,} labels"
        return Result(numbers, tuple(lines), lambda path: pictures.lines(path, panels, places, title=title, note=note))


def pooled(trained, examples, rows, labels, batch_size=32):
    """f32 [layers + 1, n, D]: the means of the states of examples below the first layer and behind each.

    Arguments as of `examples.collect`.
    """
    config = dataclasses.replace(trained.model.config, heads_out=(), pooling="mean")
    model = models.build(config)

    def means(params, batch):
        states = model.apply({"params": params}, batch, collect=True).hidden_states.astype(jnp.float32)
        return jnp.stack([pool(layer, config, batch["segments"], None) for layer in states], axis=1)

    return np.moveaxis(collect(means, trained, examples, rows, labels, batch_size), 1, 0)


def probed(train_LND, labels, held_LND, held_labels, num_labels, penalties=(1.0, 0.1, 0.01, 0.001, 0.0001)):
    """The accuracy of each layer's best linear classifier.

    Args:
        train_LND: f32 [L, N, D], states of training examples; the last HELD_OUT of them choose the penalty.
        labels: int [N].
        held_LND, held_labels: the same of the examples that are scored.
        num_labels: classes.
        penalties: from the largest on; see training.probe.solutions.

    Returns:
        ([accuracy of each layer], [its penalty]).
    """
    accuracies, chosen, first = [], [], max(1, round(len(labels) * (1 - HELD_OUT)))
    for x, held in zip(train_LND, held_LND, strict=True):
        best = None
        given = x[:first].copy(), labels[:first], np.ones(first, np.float32)
        for penalty, kernel, bias, _ in probe.solutions(*given, penalties, num_labels=num_labels, has_bias=True):
            right = np.mean((x[first:] @ kernel + bias).argmax(axis=-1) == labels[first:])
            if best is None or right > best[0]:
                best = right, penalty, float(np.mean((held @ kernel + bias).argmax(axis=-1) == held_labels))
        accuracies.append(best[2])
        chosen.append(best[1])
    return accuracies, chosen
