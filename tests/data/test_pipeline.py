"""From a configuration to batches: what reaches the rows, and what the fingerprint of a run's data covers."""

import hashlib
import re

import numpy as np
import pytest

from cloze.configs import base
from cloze.data import pipeline
from cloze.data.corpus_files import ENTITY, ENTITY_START, SENTENCE_END
from cloze.data.pairs import Pairs
from cloze.data.rows import Documents, FullSentences, Windows
from cloze.errors import ConfigError

SENTENCES = [
    "The visit of Marie Curie to Paris was on 3 March 1920.",
    "Nobody knows why.",
    "It rained, and it stopped.",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    for number in range(20):
        text = " ".join(SENTENCES[k % 3] for k in range(12))
        (directory / f"{number}.txt").write_text(f"{text} So much for {number}.")
    c = base.get_base()
    c.data.source, c.data.cache_dir, c.data.validation_share = f"text:{directory}/*.txt", str(directory / "cache"), 0.2
    c.tokenizer.vocab_size, c.train.batch_size = 200, 4
    return c


@pytest.fixture(scope="module")
def tokenizer(config):
    return pipeline.open_tokenizer(config, report=lambda line: None)


def opened(config, tokenizer, split="train", kind=Windows, **options):
    spec = kind(**{"length": 32, "start": (2,), "end": (3,)} | options)
    return pipeline.open_batches(config, tokenizer, spec, split, report=lambda line: None)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kind", [Windows, FullSentences])
def test_flags_reach_the_rows(config, tokenizer, kind, split):
    rows = opened(config, tokenizer, split, kind=kind, flags=True, entities=True).batches(0)
    tokens, flags = rows["tokens"], rows["flags"]
    assert tokens.shape == flags.shape == (4, 32) and flags.dtype == np.int32
    marks = np.where(flags & ENTITY_START, 2, flags & ENTITY > 0)
    found = set()
    for row, marked in zip(tokens, marks, strict=True):
        runs = re.finditer("21*", "".join(map(str, marked)))
        found |= {tokenizer.decode(row[run.start() : run.end()]) for run in runs}
    assert {"marie curie", "paris", "3 march 1920"} < found
    assert set(tokens[flags & SENTENCE_END > 0].tolist()) == set(tokenizer.encode(".").tolist())
    without = opened(config, tokenizer, split, kind=kind, flags=True).batches(0)
    np.testing.assert_array_equal(without["tokens"], tokens)
    np.testing.assert_array_equal(without["flags"], flags & SENTENCE_END)


def test_the_fingerprint_covers_what_is_set(config, tokenizer):
    """Options at their defaults are not in it, so that a run keeps its fingerprint when rows come to have more."""
    plain = opened(config, tokenizer)
    first = {"kind": "windows", "length": 32, "start": (2,), "end": (3,), "pad": 0}
    first |= {"short_pair_rate": 0.0, "swapped": False}
    described = repr([[plain.sources[0].directory.name], [1.0], first])
    assert plain.fingerprint == hashlib.sha256(described.encode()).hexdigest()
    changes = [{"flags": True}, {"flags": True, "entities": True}, {"overlap": 3}, {"kind": Documents}, {"length": 16}]
    prints = {opened(config, tokenizer, **change).fingerprint for change in changes} | {plain.fingerprint}
    assert len(prints) == 6


@pytest.mark.parametrize("kind", [Windows, FullSentences, Documents, Pairs])
def test_only_who_asks_gets_flags(config, tokenizer, kind):
    assert "flags" not in opened(config, tokenizer, kind=kind).batches(0)


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("data.packing", "rows", "is not one of windows, sentences, documents"),
        ("data.prefetch", 0, "must be at least 1"),
        ("data.validation_share", 1.0, "must be at least 0 and less than 1"),
        ("data.target_length", 0, "must be at least 1"),
        ("tokenizer.kind", "wordpeice", "did you mean 'wordpiece'"),
        ("tokenizer.sentinels", -1, "must be at least 0"),
        ("task.kind", "clas", "did you mean 'class'"),
        ("task.batching", "rows", "is not one of auto, pad, buckets, pack"),
        ("task.limit", -1, "must be at least 0"),
        ("task.largest_share", 0, "must be at least 1"),
        ("task.stride", 0, "must be at least 1"),
    ],
)
def test_values_outside_what_is_declared_are_refused(option, value, message):
    config, (section, name) = base.get_base(), option.split(".")
    base.check(config)
    config[section][name] = value
    with pytest.raises(ConfigError, match=f"{option}=.*{message}"):
        base.check(config)
