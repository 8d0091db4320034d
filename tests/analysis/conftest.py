"""Runs that were never trained, for analyses to look at."""

import pytest

from cloze.data import tokenizers
from cloze.training import restore
from tests.training import finetuned, tiny_run
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained


@pytest.fixture(scope="session")
def encoder():
    """A BERT of two layers with a masked language model's head."""
    tokenizer = tokenizers.train([" ".join(WORDS)] * 3, "wordpiece", 400, True, 0)
    return trained(tokenizer, ("mlm",), layers=2)


@pytest.fixture(scope="session")
def decoder():
    """A GPT-2 of two layers."""
    tokenizer = tokenizers.train([" ".join(WORDS)] * 3, "byte_bpe", 600, False, 0)
    return trained(tokenizer, ("lm",), family="gpt2", objective="causal_lm", layers=2)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """(a finetuned run, the run that it began with)."""
    root = tmp_path_factory.mktemp("finetuned")
    tiny_run.write_text(root / "text")
    origin = finetuned.pretrained(root, root / "base")
    _, _, workdir = finetuned.finetuned(root, origin, root / "tuned", "full")
    return restore.load(workdir, finetuned.quiet), restore.load(origin, finetuned.quiet)
