"""Directories of runs that have a configuration and no parameters, as far as an objective looks at a teacher."""

import functools
import json
import pathlib
import tempfile

from cloze.configs.base import get_base, to_dict

SIZE = dict(layers=3, width=32, heads=4, ffn=64, vocab_size=40, vocab_multiple=8, dropout=0.0, attention_dropout=0.0)


@functools.cache
def _root():
    return tempfile.TemporaryDirectory()  # goes when the process does


@functools.cache
def workdir(objective="masked_lm", **model):
    """The directory of a run of a small BERT; `model` are settings that differ."""
    config = get_base()
    config.objective.name = objective
    config.model.update(SIZE | model)
    config.data.sequence_length = 16
    directory = pathlib.Path(tempfile.mkdtemp(dir=_root().name))
    (directory / "config.json").write_text(json.dumps(to_dict(config)))
    return str(directory)
