"""From a configuration to a tokenizer and to batches: the road through the rest of this folder."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from typing import Any

from cloze.data import corpus, corpus_files, examples, sources, tokenizers
from cloze.data.batches import Batches
from cloze.data.example_batches import ExampleBatches
from cloze.data.poisson import Drawing
from cloze.data.rows import PACKINGS
from cloze.errors import ConfigError
from cloze.options import option

TRAINING_FORMAT = 1  # counted up when the same text and settings come to give another tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Section `data`."""

    source: str = option(
        "pydocs", 'pydocs, text:GLOB, jsonl:GLOB, tfds:NAME, or a mixture "tfds:c4/en=0.8,text:books/*.txt=0.2"'
    )
    validation_source: str = option("", "where validation text comes from; empty: a share of the documents, by hash")
    validation_share: float = option(
        0.02, "share of the documents held out when validation_source is empty", least=0, below=1
    )
    text_field: str = option("text", "the field with the text (jsonl, tfds)")
    tfds_dir: str = option("", "where prepared tensorflow-datasets live; empty: TFDS_DATA_DIR or ~/tensorflow_datasets")
    cache_dir: str = option("~/.cache/cloze", "prepared corpora and trained tokenizers, shared by all runs")
    sequence_length: int = option(
        512, "tokens per row that the (first) stack sees; of co-occurrences (glove), pairs of words in a row", least=1
    )
    target_length: int | None = option(
        None,
        "tokens per row of the decoder, None: as the objective computes it; of the answers of a decoder alone "
        "(responses) at most so many, None: as many as there is room for",
        least=1,
    )
    packing: str = option(
        "windows",
        "windows over concatenated text; full sentences, as many as fit, across documents; or documents packed side by "
        "side",
        choices=tuple(PACKINGS),
    )
    prefetch: int = option(2, "batches prepared ahead by the reading thread", least=1)


@dataclasses.dataclass(frozen=True)
class Data:
    """Batches by step, and what they were made from.

    Attributes:
        batches: data.batches.Batches, or data.example_batches.ExampleBatches.
        fingerprint: hex digest of all corpora and of the rows read from them.
        description: one line for the console.
        corpora: the open data.corpus.Corpus of each source, or the data.examples.Features of each task.
        split: the split of the corpora that is read.
        labels: names of the labels of examples; none of other rows.
        features: data.examples.Features of the task, where there is one and no other.
    """

    batches: Any
    fingerprint: str
    description: str
    corpora: list
    split: str
    labels: tuple[str, ...] = ()
    features: Any = None

    def __call__(self, step, places=None):
        """The rows of a step at some places of the global batch (None: all); see data.batches."""
        return self.batches.batches(step, places)

    def size(self, step):
        """Rows of the global batch of a step: train.batch_size, or less where examples are packed."""
        return self.batches.size(step)

    @property
    def counts(self):
        """int64 [V]: how often each id occurs in the corpora together, without regard to their weights."""
        if isinstance(self.batches, ExampleBatches):
            return self.batches.counts
        return sum(corpus.split(self.split).counts for corpus in self.corpora)

    @property
    def steps_per_epoch(self):
        """A float; of examples of other splits than "train" an int, of steps that give each once."""
        return self.batches.steps_per_epoch


def open_sources(config, split="train"):
    """[(source, weight)] of a split, checked to be there."""
    separate = split == "validation" and config.data.validation_source
    text = config.data.validation_source if separate else config.data.source
    parsed = sources.parse(text, text_field=config.data.text_field, tfds_dir=config.data.tfds_dir)
    for source, _ in parsed:
        source.check()
    return parsed


def open_tokenizer(config, directory=None, report=print):
    """The run's tokenizer.

    Args:
        config: the configuration.
        directory: where the run keeps its own; used if there is one.
        report: called with progress messages.

    Returns:
        data.tokenizers.Tokenizer: the run's own, or that of config.tokenizer.path, or one trained on the text of
        config.data.source, which is kept in config.data.cache_dir for the next run.
    """
    settings = config.tokenizer
    if directory is not None and pathlib.Path(directory).is_dir():
        return tokenizers.load(directory, settings.kind)
    if settings.path:
        return tokenizers.load(settings.path, settings.kind, settings.sentinels)
    parsed = open_sources(config)
    wanted = [[source.fingerprint(), weight] for source, weight in parsed]
    wanted += [settings.kind, settings.vocab_size, settings.lowercase, settings.sentinels, settings.training_bytes]
    wanted += ["mask_token"] if settings.mask_token else []
    name = hashlib.sha256(json.dumps([TRAINING_FORMAT, *wanted]).encode()).hexdigest()[:32]
    target = pathlib.Path(config.data.cache_dir).expanduser() / "tokenizers" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with corpus_files.lock(target.with_suffix(".lock"), report):
        if not target.is_dir():
            report(f"Training a {settings.kind} tokenizer on {config.data.source} ...")
            texts = itertools.chain(*[_some(source, settings.training_bytes * weight) for source, weight in parsed])
            made = tokenizers.train(
                texts, settings.kind, settings.vocab_size, settings.lowercase, settings.sentinels, settings.mask_token
            )
            partial = target.with_suffix(".partial")
            made.save(partial)
            partial.rename(target)
            report(f"  {made.vocab_size} pieces, kept in {target}")
    return tokenizers.load(target, settings.kind)


def _some(source, size):
    """Documents of a source until `size` bytes have been given."""
    given = 0
    for text in source.documents():
        yield text
        given += len(text.encode())
        if given >= size:
            return


def open_batches(config, tokenizer, wanted, split, tasks=None, multiple=1, report=print):
    """The batches of a split; its corpora are prepared if they are not there yet.

    Args:
        config: the configuration.
        tokenizer: data.tokenizers.Tokenizer.
        wanted: data.rows.Rows, what the objective reads.
        split: "train" (shuffled) or "validation" (in order); of examples also "test".
        tasks: the tasks.Task whose examples `wanted` are, several to mix them; else None.
        multiple: what the number of rows of a step must be a multiple of; train.batch_size is.
        report: called with progress messages.

    Returns:
        Data.

    Raises:
        ConfigError, DataError: options or data that do not go together, or are missing.
    """
    if wanted.kind == "examples":
        return _open_examples(config, tokenizer, wanted, split, tasks, multiple, report)
    separate = split == "validation" and bool(config.data.validation_source)
    share = 0.0 if separate or config.data.validation_source else config.data.validation_share
    opened, planned, weights = [], [], []
    for source, weight in open_sources(config, split):
        prepared = corpus.prepare(
            source,
            tokenizer,
            config.data.cache_dir,
            document_end=wanted.document_end,
            validation_share=share,
            entities=wanted.entities,
            progress=report,
        )
        opened.append(prepared)
        part = prepared.split("train" if separate else split)
        planned.append(wanted.plan(part, seed=config.seed, report=report))
        weights.append(weight)
    batches = Batches(planned, weights, seed=config.seed, batch_size=config.train.batch_size, shuffle=split == "train")
    parts = [[c.directory.name for c in opened], weights, wanted.described()]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    tokens = sum(c.manifest["splits"]["train" if separate else split]["tokens"] for c in opened)
    description = (
        f"{config.data.source}, {tokens:,} {split} tokens, rows of {wanted.length} ({wanted.kind}), "
        f"{batches.steps_per_epoch:,.1f} steps an epoch"
    )
    return Data(batches, digest, description, opened, "train" if separate else split)


def _open_examples(config, tokenizer, wanted, split, tasks, multiple, report):
    """The Data of labelled examples; see `open_batches`."""
    if len(tasks) > 1 and wanted.layout.kind != "text":
        raise ConfigError(
            f"task.name={config.task.name}: only texts can be mixed, as all tasks have the same head then; set "
            "objective.name=responses and task.kind=text, or task.name to one task"
        )
    opened = []
    for task in tasks:
        made = examples.prepare(task, tokenizer, wanted.layout, split, config.data.cache_dir, report)
        opened.append(made.limited(config.task.limit, config.seed) if split == "train" else made)
    weights = [min(made.num_used, config.task.largest_share) for made in opened]
    # Predictions are made row by row.
    batching = "buckets" if wanted.batching == "pack" and split != "train" else wanted.batching
    private = bool(config.finetune.dp_clip_norm) and split == "train"
    drawing = _drawing(config, opened, wanted, multiple) if private else None
    batches = ExampleBatches(
        opened,
        weights,
        batching=batching,
        length=wanted.length,
        pad=wanted.pad,
        seed=config.seed,
        batch_size=config.train.batch_size,
        multiple=multiple,
        shuffle=split == "train",
        drawing=drawing,
    )
    options = [[made.name for made in opened], weights, split, wanted.length, wanted.pad, batching]
    options += [config.task.limit] if config.task.limit else []
    only = opened[0] if len(opened) == 1 else None
    found = only and only.majority
    described = f" of {len(only.labels)} labels, {found[1]:.1%} of them {found[0]}" if found else ""
    description = (
        f"task {config.task.name}, {sum(made.num_used for made in opened):,} {split} examples{described}; rows of at "
        f"most {wanted.length} tokens ({batching}), {batches.steps_per_epoch:,.1f} steps an epoch"
    )
    digest = hashlib.sha256(repr(options).encode()).hexdigest()
    return Data(batches, digest, description, opened, split, only.labels if only else (), only)


def _drawing(config, opened, wanted, multiple):
    """What private training reads: each example of one task by chance."""
    if len(opened) > 1 or wanted.batching == "pack":
        raise ConfigError(
            f"finetune.dp_clip_norm={config.finetune.dp_clip_norm}: private training reads one task, an example a row; "
            "set task.name to one task, and task.batching to buckets"
        )
    size = config.train.batch_size
    return Drawing(len(opened[0].used), seed=config.seed, batch_size=size, multiple=multiple)
