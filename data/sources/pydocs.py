"""The embedded corpus."""

import dataclasses

from cloze.data import pydocs
from cloze.data.sources.base import SOURCES, Piece, Source, digest


@SOURCES.register("pydocs")
@dataclasses.dataclass(frozen=True)
class PydocsSource(Source):
    """The embedded corpus; see `data.pydocs`."""

    def check(self):
        """Every installation holds it."""

    def fingerprint(self):
        return digest("pydocs", pydocs.fingerprint())

    def pieces(self):
        return [Piece(1, None)]  # it is made as a whole, in seconds

    def texts(self, piece):
        return (document.text for document in pydocs.documents())
