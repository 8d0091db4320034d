"""From a configuration to a tokenizer and to batches: the road through the rest of this folder."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from cloze import storage
from cloze.data import corpus_files, sources, tokenizers
from cloze.data.examples import Features
from cloze.data.rows import PACKINGS
from cloze.options import BY_HAND, FREELY, Duration, Name, Path, Place, option

TRAINING_FORMAT = 2  # counted up when the same text and settings come to give another tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Section `data`."""

    source: Place = option(
        "pydocs",
        "pydocs, text:GLOB, jsonl:GLOB, parquet:GLOB, hf:DIRECTORY, tfds:NAME, or a mixture "
        '"tfds:c4/en=0.8,text:books/*.txt=0.2"',
        changes=BY_HAND,
    )
    mixture_schedule: tuple[tuple[Duration, tuple[float, ...]], ...] = option(
        (),
        'weights of a mixture that change, ((10_000, (0.5, 0.5)), ("1e9 tokens", (0, 1))): from that duration on, in '
        "the order of source; up to the first they are those of source",
        least=0,
    )
    validation_source: Place = option(
        "", "where validation text comes from; empty: a share of the documents, by hash", changes=BY_HAND
    )
    validation_share: float = option(
        0.02, "share of the documents held out when validation_source is empty", least=0, below=1
    )
    text_field: Name = option("text", "the field or column with the text (jsonl, parquet, hf, tfds)")
    tfds_dir: Place = option(
        "", "where prepared tensorflow-datasets live; empty: TFDS_DATA_DIR or ~/tensorflow_datasets", changes=FREELY
    )
    cache_dir: Path = option(
        "~/.cache/cloze", "prepared corpora and trained tokenizers, shared by all runs", changes=FREELY
    )
    sequence_length: int = option(
        512,
        "tokens per row that the (first) stack sees; of co-occurrences (glove), pairs of words in a row",
        least=1,
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
    prefetch: int = option(2, "batches prepared ahead by the reading thread", changes=FREELY, least=1, most=10_000)


@dataclasses.dataclass(frozen=True)
class Data:
    """Batches by step, and what they were made from.

    Attributes:
        reader: data.batches.Batches, or data.example_batches.ExampleBatches.
        sources: what it reads, see `data.rows.Rows.open`.
        fingerprint: hex digest of all sources and of the rows read from them.
        description: one line for the console.
        apart: of text to validate on from several sources, {name of the source: its Data alone}; else {}.
    """

    reader: Any
    sources: list
    fingerprint: str
    description: str
    apart: dict[str, "Data"] = dataclasses.field(default_factory=dict)

    def batches(self, step: int, places: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The rows of a step at some places of the global batch (None: all); see `data.batches.Batches`."""
        return self.reader.batches(step, places)

    def size(self, step: int) -> int:
        """Rows of the global batch of a step: train.batch_size, or less where examples are packed."""
        return self.reader.size(step)

    @property
    def steps_per_epoch(self) -> float:
        """Of examples of other splits than "train" an int, of steps that give each once."""
        return self.reader.order.steps_per_epoch

    @property
    def counts(self) -> np.ndarray:
        """int64 [V]: how often each id occurs in the sources together, without regard to their weights."""
        counts = [source.counts for source in self.sources]
        return sum(np.pad(count, (0, max(map(len, counts)) - len(count))) for count in counts)

    @property
    def features(self):
        """The data.examples.Features of the task, where there is one and no other; else None."""
        return self.sources[0] if len(self.sources) == 1 and isinstance(self.sources[0], Features) else None


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
    parsed = sources.of_split(config.data, "train")
    parts = [TRAINING_FORMAT, *([source.fingerprint(), weight] for source, weight in parsed)]
    parts += [settings.kind, settings.vocab_size, settings.lowercase, settings.sentinels, settings.training_bytes]
    parts += ["mask_token"] if settings.mask_token else []
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    target = pathlib.Path(config.data.cache_dir).expanduser() / "tokenizers" / name
    with corpus_files.preparing(target, report):
        if not target.is_dir():
            report(f"Training a {settings.kind} tokenizer on {config.data.source} ...")
            texts = itertools.chain(*[_some(source, settings.training_bytes * weight) for source, weight in parsed])
            trained = tokenizers.train(
                texts, settings.kind, settings.vocab_size, settings.lowercase, settings.sentinels, settings.mask_token
            )
            with storage.whole(target) as partial:
                trained.save(partial)
            report(f"  {trained.vocab_size} pieces, kept in {target}")
    return tokenizers.load(target, settings.kind)


def _some(source, size):
    """Documents of a source until `size` bytes have been given."""
    for text in source.documents():
        yield text
        size -= len(text.encode())
        if size <= 0:
            return


def open_batches(config, tokenizer, spec, split, tasks=(), multiple=1, report=print) -> Data:
    """The batches of a split; what they are read from is prepared if it is not there yet.

    Args:
        config: the configuration.
        tokenizer: data.tokenizers.Tokenizer.
        spec: data.rows.Rows, what the objective reads.
        split: "train" (shuffled) or "validation" (in order); of examples also "test".
        tasks: the tasks.Task whose examples are read, several to mix them; () where the spec is of text.
        multiple: what the number of rows of a step must be a multiple of; train.batch_size is.
        report: called with progress messages.

    Raises:
        ConfigError, DataError: options or data that do not go together, or are missing.
    """
    sources, weights = spec.open(config, tokenizer, split, tasks, report)
    reader = spec.batches(config, sources, weights, split, multiple)
    covered = [[source.directory.name for source in sources], weights, *spec.covered(config, split)]
    data = Data(
        reader,
        sources,
        fingerprint=hashlib.sha256(repr(covered).encode()).hexdigest(),
        description=f"{spec.summary(config, sources, split)}, {reader.order.steps_per_epoch:,.1f} steps an epoch",
    )
    if split == "train" or len(sources) == 1:
        return data
    alone = zip(spec.names(config, split), sources, strict=False)
    apart = {
        name: dataclasses.replace(data, reader=spec.batches(config, [source], [1.0], split, multiple), sources=[source])
        for name, source in alone
    }
    return dataclasses.replace(data, apart=apart)
