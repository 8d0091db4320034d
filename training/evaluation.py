"""A trained model on a task: predictions, their scores, and those of what knows nothing of the input."""

import collections
import copy
import dataclasses
import functools
import itertools
import math
import os
from typing import Any

import jax

from cloze import decoding, objectives, tasks
from cloze.data import encoding
from cloze.data.example_batches import ExampleBatches
from cloze.data.examples import Features
from cloze.data.order import Once
from cloze.errors import ConfigError, DataError
from cloze.objectives.text_to_text import PREFIXES
from cloze.parallel import mesh as meshes
from cloze.tasks import AsText, baselines, label_scores, metrics, predict, probing, shots, text_scores, uncertainty
from cloze.tasks.base import PROBES
from cloze.training import resolve, vectors


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        task: the Task that was scored.
        examples: its raw examples, and
        predictions: one for each; see tasks.metrics.score.
        scores: {metric: value}, the main one first; None where the labels are kept back.
        baselines: {name: {metric: value}}.
        errors: {metric: its standard error}; see tasks.uncertainty.
        paradigms: {name: (number of examples, scores, errors)} of tasks whose examples belong to several.
        shots: {"4 shots": (mean scores over draws, their spread)} of `training.curves`, else {}.
    """

    task: Any
    examples: list
    predictions: list
    scores: dict | None
    baselines: dict
    errors: dict = dataclasses.field(default_factory=dict)
    paradigms: dict = dataclasses.field(default_factory=dict)
    shots: dict = dataclasses.field(default_factory=dict)


def evaluate(
    trained, name, *, split, files="", limit=0, max_tokens=64, num_shots=0, batch_size=32, scoring="auto",
    in_context=shots.FIRST, resamples=200, pooling="", report=print,
):  # fmt: skip
    """Scores a model on a split of a task.

    A model with a head for the task's kind answers with it. One that writes answers with text: a run that has learned
    to respond writes whatever it likes, of which a wrong word is a wrong answer; of one that was only pretrained, the
    most probable of the words for labels, or of the choices, counts. Of plain text it gives the likelihood. A model
    that has learned vectors of texts, or is asked for them, compares those of a pair by their cosine.

    Args:
        trained: training.restore.Trained.
        name: of the task.
        split: one of tasks.base.SPLITS.
        files: folder of the task's files; empty: those of the run, if it has learned the task.
        limit: examples that are scored, from the first; 0: all.
        max_tokens: tokens that a written answer may have.
        num_shots: training examples that are shown with their answers in front of each prompt.
        batch_size: rows that are run at once.
        scoring: of tasks that compare whole texts, one of tasks.text_scores.SCORINGS.
        in_context: which examples are shown, and how labels are compared.
        resamples: of the bootstrap; see tasks.uncertainty.
        pooling: which state is the vector of a text, as model.pooling; "": the run's own if it has learned vectors,
            mean where an encoder without a head for labels is to compare a pair.
        report: called with messages.

    Raises:
        ConfigError: the model can do nothing of the kind.
        DataError: the split or its files are not there.
    """
    config = config_for(trained.config, name, files)
    task = tasks.get(name, config.task.files, config.data.tfds_dir)
    judged = task.kind in PROBES
    answers = "texts" if judged else _answers_with(trained.model.config, task, pooling)
    if answers == "vectors" and task.kind == "class":
        task = tasks.AsPairs(task)
    examples = list(task.examples(split))
    if not examples:
        raise DataError(f"the {split} split of task {name} is empty: give a split with examples")
    scorer = text_scorer(trained, scoring, batch_size, report) if judged else None
    if scoring != "auto" and not judged:
        raise ConfigError(
            f"--scoring={scoring} is of tasks that compare whole texts, which {name} does not: leave it out"
        )
    unanswerable = answers == "head" and task.kind == "span" and _unanswerable(task, examples)
    examples = examples[: limit or None]
    if num_shots and split == "train":
        raise ConfigError(f"--num_shots={num_shots} shows training examples with their answers: score another --split")
    if num_shots and (answers != "text" or task.kind == "lm"):
        raise ConfigError(
            f"--num_shots={num_shots} puts examples in front of prompts; this run answers {name} without a prompt"
        )
    if judged:
        report(f"{name}: scored by {scorer.scoring}")
        examples, predictions = probing.predictions(task, examples, scorer)
    elif answers == "head":
        predictions = _from_heads(trained, config, task, examples, unanswerable, batch_size, report)
    elif answers == "vectors":
        predictions = _from_vectors(trained, config, task, examples, pooling, batch_size, report)
    else:
        writes = writer(trained, config, batch_size, report)
        if task.kind == "lm":
            predictions = _likelihoods(writes, task, examples)
        else:
            responds = trained.config.objective.name == "responses"
            examples, predictions = _from_text(
                task, config, writes, split, examples, responds, max_tokens, num_shots, in_context
            )
    if unclear := sum(prediction is None for prediction in predictions):
        report(f"{name}: {unclear:,} of {len(predictions):,} answers are none that the task knows, and count as wrong")
    return _judged(task, examples, predictions, resamples, report)


def _judged(task, examples, predictions, resamples, report):
    """The Evaluation of predictions."""
    try:
        scores = metrics.score(task, predictions, examples)
    except DataError as error:
        report(str(error))
        return Evaluation(task, examples, predictions, None, {})
    errors = uncertainty.standard_errors(task, predictions, examples, resamples, report=report)
    numbers = collections.defaultdict(list)
    for number, example in enumerate(examples):
        if "paradigm" in example:
            numbers[example["paradigm"]].append(number)
    paradigms = {}
    for name, some in numbers.items():
        mine = [predictions[n] for n in some], [examples[n] for n in some]
        paradigms[name] = len(some), metrics.score(task, *mine), uncertainty.standard_errors(task, *mine, resamples)
    return Evaluation(task, examples, predictions, scores, _baselines(task, examples, report), errors, paradigms)


def _unanswerable(task, examples):
    """Whether questions may have no answer; where answers are kept back, as in training."""
    if all(example["answers"] is None for example in examples):
        examples = task.examples("train")
    return any(example["answers"] == () for example in examples)


def config_for(config, name, files):
    """The run's configuration, with the task in place of its own."""
    config = copy.deepcopy(config)
    learned = tasks.expand(config.task.name) if config.task.name else ()
    several = len(learned) > 1
    if not files and name in learned and config.task.files:
        own = name in tasks.TASKS
        files = "" if own else os.path.join(config.task.files, name) if several else config.task.files
    config.task.update(name=name, files=files, kind="", labels=(), limit=0, batching="buckets")
    config.task.instructions = config.task.instructions or several  # as tasks that are mixed always have them
    config.model.num_labels = None
    config.init.update(inherit=False, parameters=True, checkpoint="")  # it is resolved, and the head not begun
    config.data.update(packing="windows", validation_source="")
    config.finetune.dp_clip_norm = 0.0
    return config


def _answers_with(model, task, pooling=""):
    """Whether a model answers a task with a "head", with "vectors" of texts, or with "text".

    Raises:
        ConfigError: with none of them; what to do.
    """
    heads = set(model.heads_out)
    writers = ("decoder",) if task.kind == "lm" else ("decoder", "encoder_decoder")
    labelled = heads & set(predict.HEAD_OF.values())
    wanted = bool(pooling) or "embedding" in heads or task.kind == "embedding"
    if wanted or (task.kind == "regression" and not labelled and model.architecture == "encoder"):
        vectors.check(model, task, pooling)
        return "vectors"
    if task.kind in predict.HEAD_OF and labelled:
        return "head"
    if "lm" in heads and model.architecture in writers and task.kind != "tag":
        return "text"
    advice = {
        "lm": "that takes a decoder with the head lm, as configs/gpt2.py trains it",
        "text": "finetune a decoder (configs/finetune/respond.py) or an encoder-decoder (text_to_text.py) for it",
    }
    raise ConfigError(
        f"this run's model, of architecture {model.architecture} with the heads {', '.join(sorted(heads)) or 'none'}, "
        f"cannot answer task {task.name} of kind {task.kind}: "
        + advice.get(task.kind, "finetune it first (configs/finetune/), with --config.init.checkpoint set to the run")
    )


def _from_vectors(trained, config, task, examples, pooling, batch_size, report):
    """Predictions by the cosines of vectors of texts."""
    trained, texts = vectors.prepared(trained, config, task, examples, pooling, report)
    features, scored = _scored(trained, config, task, texts, "embedding", batch_size, report)
    return predict.from_heads(task, examples, features, scored, config.task)


def _from_heads(trained, config, task, examples, unanswerable, batch_size, report):
    """Predictions of a head."""
    columns = _order(trained.config.task.labels, trained.model.config, task, report)
    config.objective.update(name="supervised", lm_weight=0.0)
    config = resolve.resolve(config)
    features, scored = _scored(trained, config, task, examples, task.kind, batch_size, report, columns)
    return predict.from_heads(task, examples, features, scored, config.task, unanswerable)


def _scored(trained, config, task, examples, kind, batch_size, report, columns=None):
    """(Features of examples, iterator over what the head of a kind gives to batches of them, with their numbers)."""
    objective = objectives.build(config, trained.tokenizer.tables, trained.model.config)
    layout = objective.rows.layout
    arrays = encoding.encode(examples, trained.tokenizer, layout, task.labels())
    for line in encoding.describe(arrays, layout):
        report(f"{task.name}: {line}")
    features = Features(arrays, layout, len(examples), task.labels())
    devices = devices_of(trained)
    order = Once([len(features.used)], devices.whole(batch_size))
    batches = ExampleBatches(
        [features], order, batching="buckets", length=objective.rows.length, pad=objective.rows.pad
    )

    @jax.jit
    def head(params, batch):
        return predict.head_scores(trained.model.apply({"params": params}, batch), kind)

    def scored():
        for step in range(order.steps_per_epoch):
            rows = batches.batches(step)
            with devices.context():
                scores = decoding.to_host(head(trained.params, devices.place(rows)))
            yield scores if columns is None else scores[..., columns], rows["row_id"]

    return features, scored()


def _order(learned, model, task, report):
    """The places of the task's labels among those that a head has learned; None where they are the same.

    Args:
        learned: config.task.labels of the run; () where it has none, or does not know them.
        model: ModelConfig.
        task: the Task.
        report: called with a warning where the names that the head has learned are not known.

    Raises:
        ConfigError: the head is of another kind, or for other labels.
    """
    head = predict.HEAD_OF[task.kind]
    if head not in model.heads_out:
        raise ConfigError(
            f"task {task.name} is of kind {task.kind}, this run has learned another: its heads are "
            f"{', '.join(model.heads_out)}; finetune a model for the task (configs/finetune/)"
        )
    labels = {"regression": 1}.get(task.kind, len(task.labels()))
    if head in ("class", "tag") and model.num_labels != labels:
        what = "a number" if labels == 1 else f"one of {labels} labels"
        raise ConfigError(
            f"task {task.name} asks for {what}, this run's head gives {model.num_labels} scores: finetune a model for "
            "the task (configs/finetune/)"
        )
    if head not in ("class", "tag") or labels == 1:
        return None
    names = tuple(task.labels())
    if not learned:
        shown = f"{', '.join(names[:10])}{', ...' if labels > 10 else ''}"
        report(
            f"Warning: {task.name}: what this run calls its {labels} labels is not known; they are taken in the task's "
            f"order, {shown}, and another one would score wrongly"
        )
        return None
    if tuple(learned) == names:
        return None
    columns = tasks.places(names, learned)
    if columns is None:
        raise ConfigError(
            f"task {task.name} has the labels {', '.join(task.labels())}, this run has learned {', '.join(learned)}: "
            "finetune a model for the task (configs/finetune/)"
        )
    return columns


def writer(trained, config=None, batch_size=1, report=print):
    """A model that writes, as tasks.predict.LanguageModel.

    Args:
        trained: training.restore.Trained, whose model has the head "lm".
        config: the run's configuration with a task in place of its own, changed in place; None: there is no task.
        batch_size: rows that are run at once; on a mesh, a few more where they do not divide.
        report: called with messages.
    """
    config = config_for(trained.config, "", "") if config is None else config
    name = config.objective.name
    decoder = trained.model.config.architecture == "decoder"
    prefix = config.objective.prefix if decoder and "prefix" in config.objective else PREFIXES[-1]
    config.objective.update(name="responses", prefix=prefix, loss_on_inputs=False)
    config.task.update(kind="text", markers=False, both_orders=False)
    if decoder:
        config.data.target_length = None
    rows = objectives.build(config, trained.tokenizer.tables, trained.model.config).rows
    layout = rows.layout
    if name != "responses":  # it goes on from the end of a prompt
        layout = dataclasses.replace(layout, cut_left=True)
        if decoder:  # which has not learned that what ends texts stands before answers, too
            layout = dataclasses.replace(layout, separator=())
    devices = devices_of(trained)
    return predict.LanguageModel(
        trained.model, trained.params, trained.tokenizer, layout, rows.pad, prefix, devices.whole(batch_size), report,
        devices,
    )  # fmt: skip


def devices_of(trained):
    """The decoding.Devices that a model runs on: those that hold its parameters."""
    if trained.mesh is None:
        return decoding.Devices()
    return decoding.Devices(meshes.row_sharding(trained.mesh), functools.partial(meshes.context, trained.mesh))


def text_scorer(trained, asked="auto", batch_size=32, report=print):
    """A model that says how probable texts are, as tasks.text_scores.TextScorer.

    Args:
        trained: training.restore.Trained.
        asked: one of tasks.text_scores.SCORINGS.
        batch_size: rows that are run at once.
        report: called with messages.

    Raises:
        ConfigError: the model cannot, or not as it is asked to.
    """
    model, tables = trained.model.config, trained.tokenizer.tables
    scoring = text_scores.scoring_of(model.heads_out, model.architecture, trained.config.objective.name, tables, asked)
    given = dict(batch_size=batch_size, report=report, devices=devices_of(trained))
    if model.architecture == "encoder":
        around = [() if i is None else (i,) for i in (tables.cls, tables.sep)]
        length = trained.config.data.sequence_length
        return text_scores.TextScorer(
            trained.model, trained.params, trained.tokenizer, scoring, length, *around, **given
        )
    layout = writer(trained, batch_size=batch_size, report=report).layout
    start, written = layout.start, ()
    if model.architecture == "encoder_decoder":
        written = (layout.decoder_start, *layout.target_start)
    else:
        packed = trained.config.objective.name == "masked_next_token"  # which has no other token between texts
        start = ((not packed and layout.start) or layout.end)[-1:]
    return text_scores.TextScorer(
        trained.model, trained.params, trained.tokenizer, scoring, layout.length, start, layout.end, written, **given
    )


def _likelihoods(writes, task, examples):
    texts = [example["text"] for example in examples]
    if lost := _lost(writes.tokenizer, texts):
        writes.report(
            f"{task.name}: the tokenizer does not give back the text: {lost[0]!r} becomes {lost[1]!r}. What is lost "
            f"counts but is not predicted: {task.metrics[-1]} is lower than that of the text"
        )
    found = writes.likelihoods(texts, task.units)
    if "last_word_accuracy" in task.metrics:
        words = writes.last_words(texts)
        found = [dataclasses.replace(one, last_word=word) for one, word in zip(found, words, strict=True)]
    return found


def _lost(tokenizer, texts):
    """(a piece of one of the first texts, what a tokenizer makes of it) where they differ, or None."""
    for text in texts[:10]:
        read = text[:2000]
        written = tokenizer.decode(tokenizer.encode(read))
        if written != read:
            place = len(os.path.commonprefix([read, written]))
            return tuple(some[max(place - 20, 0) : place + 20] for some in (read, written))
    return None


def _from_text(task, config, writes, split, examples, responds, max_tokens, num_shots, in_context):
    """(the examples, predictions) of a model that writes; `responds`: it has learned to."""
    if task.kind == "choice" and not responds:
        return examples, _continued(task, writes, examples, num_shots, in_context)
    as_text = task.kind != "text" or config.task.instructions
    read = AsText(task) if as_text else task
    written = list(itertools.islice(read.examples(split), len(examples))) if as_text else examples
    words = read.label_words() if as_text and not responds else ()
    room = writes.longest(words) if words else max_tokens
    if in_context.scoring != "auto" and not words:
        raise ConfigError(
            f"--label_scoring={in_context.scoring} compares labels, and this run writes its answers to task "
            f"{task.name}: leave it out"
        )

    def show(some):
        if not num_shots:
            return some
        labels = read.label_words() if as_text else ()
        front = shots.chosen(read.examples("train"), num_shots, read.name, in_context, labels)
        return writes.show(some, read.name, front, num_shots, room)

    shown = show(written)
    if words:
        writes.report(
            f"{task.name}: the run was never finetuned; the most probable of {', '.join(words)} is its answer"
        )
        how = "answer" if in_context.scoring == "auto" else in_context.scoring
        found = _best(task, writes, written, [words] * len(shown), show, how)
    else:
        found = writes.write(shown, max_tokens)
        found = [shots.cut(text) for text in found] if num_shots else found
    if not as_text:
        return examples, found
    if not words:
        found = [read.parse(text, example) for text, example in zip(found, written, strict=True)]
    return [example["example"] for example in written], found


def _best(task, writes, written, words, show, how):
    """[int], the best answers to examples of kind text, `show` putting others in front of them."""
    scores = writes.answer_scores(show(written), words)
    if how != "calibrated":
        return label_scores.best(scores, words, how)
    keys = [
        [
            (label_scores.emptied(one["inputs"], one["example"], nothing, task.name), tuple(some))
            for nothing in label_scores.CONTENT_FREE
        ]
        for one, some in zip(written, words, strict=True)
    ]
    asked = {key: one for one, some in zip(written, keys, strict=True) for key in some}  # most are the same
    prompts = [copy.copy(one) | {"inputs": prompt} for (prompt, _), one in asked.items()]
    found = writes.answer_scores(show(prompts), [some for _, some in asked])
    empty = dict(zip(asked, found, strict=True))
    return label_scores.best(scores, words, how, [[empty[key] for key in some] for some in keys])


def _continued(task, writes, examples, num_shots, in_context):
    """The choices that a model goes on with most probably, token for token (Brown et al. 2020, section 2.4)."""
    writes.report(f"{task.name}: the run was never finetuned; the choice with the most probable tokens is its answer")
    prompts, choices = [_continuation(one) for one in examples], [one["choices"] for one in examples]

    def show(some):
        if not num_shots:
            return some
        training = map(_continuation, task.examples("train"))
        front = shots.chosen(training, num_shots, task.name, in_context)
        return writes.show(some, task.name, front, num_shots, [writes.longest(one["choices"]) for one in some])

    how = "token" if in_context.scoring == "auto" else in_context.scoring
    return _best(task, writes, prompts, choices, show, how)


def _continuation(example):
    """An example of kind choice as one of kind text."""
    label, choices = example["label"], example["choices"]
    targets = None if label is None else choices[label]
    return {"inputs": example["context"], "targets": targets, "choices": choices, "example": example}


def _baselines(task, examples, report):
    """{name: {metric: value}} of what knows nothing of the input."""
    try:
        trivial = baselines.predictions(task, examples)
        return {name: metrics.score(task, found, examples) for name, found in trivial.items()}
    except DataError as error:
        report(f"{task.name} has no baselines: {error}")
        return {}


def finite(value):
    """A number as JSON can hold it: None for NaN."""
    return value if isinstance(value, int) or math.isfinite(value) else None
