"""Text files."""

import dataclasses

from cloze.data.sources.base import SOURCES, Piece
from cloze.data.sources.files import FileSource, unpacked
from cloze.data.sources.records import decode


@SOURCES.register("text")
@dataclasses.dataclass(frozen=True)
class TextSource(FileSource):
    """Text files in UTF-8, each of them one document. `.gz` files are unpacked."""

    def cut(self, file):
        return [Piece(file.size, file.path)]

    def texts(self, piece):
        with unpacked(piece.place) as file:
            content = file.read()
        yield decode(content, piece.place, 0).replace("\r\n", "\n")
