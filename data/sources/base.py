"""What a source is, and how the value of `data.source` is read.

A document that is blank is skipped, so no consumer ever sees one.
"""

import abc
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from cloze.errors import ConfigError, DataError
from cloze.options import suggest
from cloze.registry import Registry

SOURCES = Registry("data.source", __package__)
PIECE_BYTES = 64 << 20  # larger files are cut where they can be, so that several processes may share them
_FORMAT = 1  # part of every fingerprint: raise it when a source cuts or cleans text differently


def parse(text: str, *, text_field: str, tfds_dir: str) -> list[tuple["Source", float]]:
    """Reads the value of `data.source`.

    Args:
        text: one source or several with commas between them, each with its weight (1 if not given):
            "tfds:c4/en=0.8,text:books/*.txt=0.2". A `=NUMBER` at the end is always a weight.
        text_field: the field that holds the text, where a source has fields.
        tfds_dir: where prepared tensorflow-datasets live; empty for the library's own default.

    Returns:
        Pairs of source and weight; the weights sum to 1.

    Raises:
        ConfigError: an unknown kind of source, a missing name, a bad weight, or a source named twice.
    """
    weighted = {}
    for part in (text or "").split(","):
        name, weight = _split_weight(part.strip())
        if name in weighted:
            raise ConfigError(f"data.source names {name!r} twice: name it once, with the sum of the weights")
        weighted[name] = weight
    total = sum(weighted.values())
    return [(_source(name, text_field, tfds_dir), weight / total) for name, weight in weighted.items()]


def of_split(options, split: str) -> list[tuple["Source", float]]:
    """The sources and weights of "train" or "validation" text, checked to be there.

    Args:
        options: the section `data` of a configuration.
        split: "validation" is read from data.validation_source, if that is set.

    Raises:
        ConfigError, DataError: see `parse` and `Source.check`.
    """
    text = options.validation_source if split == "validation" and options.validation_source else options.source
    parsed = parse(text, text_field=options.text_field, tfds_dir=options.tfds_dir)
    for source, _ in parsed:
        source.check()
    return parsed


def _split_weight(part):
    name, equals, number = part.rpartition("=")
    if not equals:
        return part, 1.0
    try:
        weight = float(number)
    except ValueError:
        kind = name.partition(":")[0]
        if kind in SOURCES and SOURCES[kind].has_paths:  # a path may hold an equals sign: date=today/*.txt
            return part, 1.0
        raise ConfigError(f"the weight in data.source {part!r} must be a number, got {number!r}") from None
    if not (weight > 0 and math.isfinite(weight)):
        raise ConfigError(f"the weight in data.source {part!r} must be positive and finite")
    return name, weight


def _source(name, text_field, tfds_dir):
    kind, _, rest = name.partition(":")
    if kind not in SOURCES:
        written = ", ".join(f"{known}:{cls.after}" if cls.after else known for known, cls in SOURCES.items())
        raise ConfigError(
            f"unknown data source {name!r}{suggest(kind, SOURCES) or '.'} Write one of {written}; "
            "in a mixture, separate whole sources with commas: text:a/*.txt=0.5,text:b/*.txt=0.5"
        )
    if bool(SOURCES[kind].after) != bool(rest):
        raise ConfigError(
            f"data source {name!r}: "
            + (f"{kind} takes nothing after it" if rest else f"write what to read after the colon: {kind}:...")
        )
    return SOURCES[kind](name, rest, text_field, tfds_dir)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some documents of a source, one after the other.

    Attributes:
        size: about how many bytes they take where they are.
        place: what the source finds them by.
    """

    size: int
    place: Any


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A collection of documents in a fixed order.

    Attributes:
        name: the source as the user wrote it, without its weight.
        address: what comes after the colon.
        text_field: the field that holds the text, where there are fields.
        tfds_dir: where prepared tensorflow-datasets live.
    """

    after: ClassVar[str] = ""  # what is written behind the kind and a colon
    has_paths: ClassVar[bool] = False
    name: str
    address: str = ""
    text_field: str = "text"
    tfds_dir: str = ""

    @abc.abstractmethod
    def check(self) -> None:
        """Looks whether there is anything to read, without reading it.

        Raises:
            DataError: files are missing, or a data set is not prepared.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Returns a hash (hex) that changes when the text would; cheap, reads no text.

        Raises:
            DataError: as `check`.
        """

    @abc.abstractmethod
    def pieces(self) -> list[Piece]:
        """All documents in pieces, in order; each can be read without those before it.

        Raises:
            DataError: as `check`.
        """

    @abc.abstractmethod
    def texts(self, piece: Piece) -> Iterator[str]:
        """Yields every text of a piece, blank ones too.

        Raises:
            DataError: text that cannot be read.
        """

    def documents(self, skip: int = 0, pieces: Iterable[Piece] | None = None) -> Iterator[str]:
        """Yields the documents from number `skip` on, counted without the blank ones.

        Args:
            skip: documents to leave out.
            pieces: those of `pieces()` that are read; None: all.

        Raises:
            DataError: text that cannot be read; of all pieces also that there is no document, or what `check` finds.
        """
        if pieces is None:
            self.check()
        number = 0
        for piece in self.pieces() if pieces is None else pieces:
            for text in self.texts(piece):
                if text.strip():
                    if number >= skip:
                        yield text
                    number += 1
        if not number and pieces is None:
            raise DataError(f"data source {self.name!r} holds no text: every document is empty; check what it names")


def digest(*parts: Any) -> str:
    """A fingerprint (hex) of what decides a source's text."""
    return hashlib.sha256("\0".join(map(str, (_FORMAT, *parts))).encode()).hexdigest()


def steps(count: int, size: int, piece_bytes: int | None = None) -> list[Piece]:
    """Pieces with the places (start, stop) that cut `count` records into equal parts of about `PIECE_BYTES`.

    Args:
        count: records.
        size: bytes of all.
        piece_bytes: another size of pieces.
    """
    number = min(max(1, -(-size // (piece_bytes or PIECE_BYTES))), max(1, count))
    bounds = [count * i // number for i in range(number + 1)]
    return [Piece(size // number, (start, stop)) for start, stop in zip(bounds, bounds[1:], strict=False)]
