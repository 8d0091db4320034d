"""A trained model from a run's directory, for everything that is not training it."""

import dataclasses
import pathlib
from typing import Any

from cloze.data import tokenizers
from cloze.models.adapted import Adapted
from cloze.models.composite import Composite
from cloze.training import initial, runs


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run has learned.

    Attributes:
        config: its configuration.
        model: the module, of a composite one part.
        params: nested tree of parameters.
        tokenizer: tokenizers.Tokenizer.
        step: updates made.
        mesh: that the parameters are cut over; None: they are on the first device.
        workdir: the run's directory; None: it has none.
    """

    config: Any
    model: Any
    params: Any
    tokenizer: Any
    step: int
    mesh: Any = None
    workdir: Any = None


def load(workdir, report=print, fills=False, mesh=None, ema=False, which=runs.NEWEST):
    """Reads a whole checkpoint of a run, parameters only.

    What a run with LoRA or the like has learned is put into the parameters that it began with, so that the model is
    an ordinary one.

    Args:
        workdir: the run's directory.
        report: called with messages.
        fills: of a composite, take the part that reads [MASK] and not the main one.
        mesh: a mesh to cut the parameters over; None: the first device.
        ema: take the moving averages of the parameters that trained.
        which: of its checkpoints, the newest, the best or the number of a step; see runs.checkpoint_of.

    Returns:
        Trained.

    Raises:
        ConfigError: no run there, nothing saved yet, or the run that it began with has changed.
        CheckpointError: no checkpoint is whole.
    """
    config = runs.load_config(workdir)
    tokenizer = tokenizers.load(pathlib.Path(workdir) / "tokenizer")
    model = runs.make_model(workdir, config, tokenizer.tables)
    params, step = initial.load_parameters(workdir, config, model, tokenizer, report, mesh, ema, which)
    if isinstance(model, Adapted):
        model, params = model.model, model.merge(params)
    if isinstance(model, Composite):
        model, params = model.part(params, model.fills if fills else model.main)
    return Trained(config, model, params, tokenizer, step, mesh, workdir)
