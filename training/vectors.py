"""Vectors of texts of a trained model: whether it has any for a task, and what of it gives them."""

import dataclasses

from cloze import models, tasks
from cloze.errors import ConfigError

_VECTORS = {
    "first": "the states of the first token",
    "last": "the states of the last token",
    "mean": "means over the states of all tokens",
    "max": "the largest of each feature over the states of all tokens",
}


def check(model, task, pooling):
    """Refuses what has no vectors of texts, and tasks that do not compare texts."""
    why = f"--pooling={pooling} asks for" if pooling else "this run's model gives"
    if task.kind not in ("regression", "embedding") and task.same is None:
        raise ConfigError(
            f"{why} vectors of texts, and task {task.name} of kind {task.kind} does not compare texts: score one that "
            "does (stsb, summary_match, jsonl:regression, jsonl:embedding)"
        )
    if model.architecture not in ("encoder", "decoder", "encoder_decoder") or model.shared_stacks:
        kind = "one stack for both sides" if model.shared_stacks else f"architecture {model.architecture}"
        raise ConfigError(
            "vectors of texts are those of encoders and decoders, and of encoders that have a decoder, and this run's "
            f"model has {kind}: score another run on task {task.name}"
        )
    if pooling == "first" and model.architecture == "decoder":
        raise ConfigError("--pooling=first: the first token of a decoder has read nothing; write last or mean")


def prepared(trained, config, task, examples, pooling, report):
    """A model that gives vectors, and the texts that they are of.

    Args:
        trained: training.restore.Trained.
        config: its configuration with the task in place of its own; changed in place.
        task: the Task.
        examples: its raw examples.
        pooling: see `training.evaluation.evaluate`.
        report: called with what the vectors are.

    Returns:
        (Trained whose model has the head "embedding", examples of kind embedding).
    """
    made = trained.model.config
    pooling = pooling or (made.pooling if "embedding" in made.heads_out else "mean")
    whose = ""
    if made.architecture == "encoder_decoder":  # its encoder alone, as sentence-T5 (Ni et al. 2021, section 3.1)
        made, whose = dataclasses.replace(made, architecture="encoder", decoder_layers=0), " of the encoder"
    report(f"{task.name}: texts are compared by the cosine of their vectors, {_VECTORS[pooling]}{whose}")
    config.objective.name = "contrastive"
    config.task.update(kind="embedding", markers=False, both_orders=False)
    texts = [tasks.compared(example) for example in examples] if task.kind == "regression" else examples
    model = models.build(dataclasses.replace(made, heads_out=("embedding",), pooling=pooling))
    return dataclasses.replace(trained, model=model), texts
