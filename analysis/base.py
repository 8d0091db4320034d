"""What every analysis is: options, a function of a trained run, and what comes of it."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from cloze import options
from cloze.errors import ConfigError
from cloze.registry import Registry

ANALYSES = Registry("--what", __package__)


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        numbers: as JSON can hold them.
        lines: for the console.
        draw: writes the picture to a path.
    """

    numbers: dict[str, Any]
    lines: tuple[str, ...]
    draw: Callable[[Any], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis(abc.ABC):
    """A way to look at a run; its fields are its options, flags of analyze.py.

    Attributes:
        picture: ending of the picture's name, .html or .png; the latter needs matplotlib.
        architectures: of models that can be looked at so.
    """

    picture: ClassVar[str] = ".png"
    architectures: ClassVar[tuple[str, ...]] = ("encoder", "decoder")

    def __post_init__(self):
        options.check(type(self), vars(self), "--")

    @abc.abstractmethod
    def run(self, trained: Any, report: Callable[[str], None]) -> Result:
        """Looks at a run.

        Args:
            trained: training.restore.Trained.
            report: called with messages.

        Raises:
            ConfigError: the run cannot be looked at so: why, and what can.
        """

    def check_model(self, trained: Any) -> None:
        """Refuses a model of another architecture."""
        there = trained.model.config.architecture
        if there not in self.architectures:
            name = next(name for name, cls in ANALYSES.items() if cls is type(self))
            raise ConfigError(
                f"--what={name} looks at models of architecture {' or '.join(self.architectures)}, this run's model is "
                f"of architecture {there}: choose another run"
            )


@dataclasses.dataclass(frozen=True)
class Read:
    """A text as a model reads it.

    Attributes:
        ids: int32 [T], special tokens included.
        pieces: what each is, T strings.
        spans: int [T, 2], the characters [start, end) of the text that each is of; both 0 of special tokens.
    """

    ids: np.ndarray
    pieces: tuple[str, ...]
    spans: np.ndarray

    @property
    def batch(self) -> dict:
        """The batch of this text alone."""
        return {"tokens": jnp.asarray(self.ids)[None]}


def read(trained: Any, text: str) -> Read:
    """A text between the special tokens of the model's pretraining, cut where a row ends.

    Args:
        trained: training.restore.Trained, an encoder or decoder.
        text: not empty.

    Raises:
        ConfigError: the tokenizer leaves nothing of the text.
    """
    tokenizer, tables = trained.tokenizer, trained.tokenizer.tables
    if trained.model.config.architecture == "encoder":
        start, end = tables.cls, tables.sep
    else:
        start, end = (None if tables.bos == tables.eos else tables.bos), None
    start, end = ([] if one is None else [one] for one in (start, end))
    ((ids, spans),) = tokenizer.encode_with_offsets([text])
    room = trained.config.data.sequence_length - len(start) - len(end)
    if not len(ids):
        raise ConfigError(f"the tokenizer leaves nothing of the text {text!r}: give another --text")
    ids, spans = np.asarray(ids[:room]), np.asarray(spans)[:room]
    whole = np.array([*start, *ids, *end], np.int32)
    around = [np.zeros((len(some), 2), int) for some in (start, end)]
    return Read(whole, tuple(tokenizer.piece(int(i)) for i in whole), np.concatenate([around[0], spans, around[1]]))
