"""A run's directory that is written at once, and not by training."""

import contextlib
import json
import pathlib

from cloze import storage
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training.checkpoint import Checkpoints

CONFIG_PY = '''"""Goes on from what convert.py wrote: --config=this file, --workdir=the directory that holds it."""

import pathlib

from cloze.configs import base


def get_config(arguments=""):
    """What convert.py found; every option can be set on the command line."""
    del arguments
    return base.load(pathlib.Path(__file__).with_name("config.json"))
'''


def check_free(workdir):
    """Refuses a directory that is not empty."""
    workdir = pathlib.Path(workdir)
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise ConfigError(f"{workdir} is there already and not empty: choose another directory, or remove it")


@contextlib.contextmanager
def appearing(workdir):
    """A directory to write to, which becomes `workdir`, empty or not there, at the end if nothing went wrong."""
    check_free(workdir)
    with storage.whole(workdir) as partial:
        partial.mkdir()
        yield partial


def write(directory, config, tokenizer, params, *, step=0, seal=None):
    """Writes all that a run's directory holds.

    Args:
        directory: where it is written.
        config: configuration of the run.
        tokenizer: data.tokenizers.Tokenizer; None: the run has none.
        params: tree of arrays for its only checkpoint.
        step: of the checkpoint; 0: the parameters have the heads that the configuration names, whatever its objective.
        seal: {key: value} that the checkpoint says of itself besides.
    """
    if tokenizer is not None:
        tokenizer.save(directory / "tokenizer")
    (directory / "config.py").write_text(CONFIG_PY)
    settings = base.to_dict(config)
    (directory / "config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    checkpoints = Checkpoints(directory / "checkpoints")
    meta = {"config": settings, "tokenizer": None if tokenizer is None else tokenizer.hash, "data": None}
    checkpoints.save(step, params, None, meta | (seal or {}))
    checkpoints.close()
