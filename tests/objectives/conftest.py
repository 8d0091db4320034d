"""A made-up tokenizer and model for tests of objectives, and configurations of one."""

import types

import numpy as np
import pytest

from cloze import models, objectives
from cloze.configs.base import get_base
from tests.objectives import teachers

VOCAB = 40
STUDENT = models.resolve(dict(family="bert", preset="base", **teachers.SIZE | dict(layers=2)))
TASKS = {
    "contrastive": "embedding",
    "responses": "text",
    "supervised": "class",
}  # task.kind of objectives that read examples
NEEDS = {  # what a model must be for objectives that are not for any of their architecture
    "contrastive": dict(
        pooling="mean", width=8, dropout=0.1, attention_dropout=0.0, activation_dropout=0.0, final_dropout=0.0
    ),
    "distillation": dict(vars(STUDENT), padded_vocab=STUDENT.padded_vocab),
    "glove": dict(use_bias=True),
    "permutation_lm": dict(positions="transformer_xl", longest_row=None),
    "responses": dict(pooling="last"),
    "supervised": dict(num_labels=3, pooling="first"),
    "unilm": dict(token_types=6),
}


def make_tables(**changes):
    """Tables of a vocabulary of 40: six special tokens, text from 6, eight sentinels counted down from the end."""
    sentinels = changes.pop("sentinels", np.arange(VOCAB - 1, VOCAB - 9, -1, dtype=np.int32))
    size = changes.get("vocab_size", VOCAB)
    special = np.zeros(size, bool)
    special[[0, 2, 3, 4, 5, *sentinels]] = True
    ids = dict(vocab_size=VOCAB, pad=0, unk=1, cls=2, sep=3, mask=4, eos=5, bos=None)
    return types.SimpleNamespace(**ids | changes, sentinels=sentinels, special=special, starts_word=np.ones(size, bool))


def make(name, *, tables=None, model=None, **options):
    """The objective `name` with options given as objective__mask_rate=0.2."""
    config = get_base()
    config.objective.name = name
    config.task.kind = TASKS.get(name, "")
    if name == "distillation":
        config.objective.teacher = teachers.workdir()
    with config.unlocked():
        for option, value in options.items():
            section, field = option.split("__")
            assert field in config[section], option
            config[section][field] = value
    kind = objectives.OBJECTIVES.get(name)
    settings = dict(architecture=kind and kind.architectures[0], vocab_size=VOCAB, positions="learned")
    settings |= dict(longest_row=512, token_types=2, enhanced_decoder=0, prompt_length=0) | NEEDS.get(name, {})
    return objectives.build(config, tables or make_tables(), types.SimpleNamespace(**settings | (model or {})))


@pytest.fixture(scope="session")
def build():
    """The function `make` above."""
    return make


@pytest.fixture(scope="session")
def tables():
    """The function `make_tables` above."""
    return make_tables
