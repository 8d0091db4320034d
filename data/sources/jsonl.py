"""Files of JSON lines."""

import dataclasses

from cloze.data.sources import base
from cloze.data.sources.base import SOURCES, Piece, digest
from cloze.data.sources.files import FileSource, unpacked
from cloze.data.sources.records import decode, field, parse_json
from cloze.errors import DataError


@SOURCES.register("jsonl")
@dataclasses.dataclass(frozen=True)
class JsonlSource(FileSource):
    """Files with one JSON object a line, each of them one document; blank lines are ignored. `.gz` are unpacked.

    A piece is (path, start, stop): the lines that begin in these bytes. Packed files are one piece.
    """

    def fingerprint(self):
        return digest(super().fingerprint(), self.text_field)

    def cut(self, file):
        if file.path.endswith(".gz"):
            return [Piece(file.size, (file.path, 0, None))]
        return [Piece(part.size, (file.path, *part.place)) for part in base.steps(file.size, file.size)]

    def texts(self, piece):
        path, start, stop = piece.place
        with unpacked(path) as file:
            offset = _next_line(file, start)
            for number, line in enumerate(file, 1):
                if stop is not None and offset >= stop:
                    return
                if line.strip():
                    where = f"{path}, the line at byte {offset}" if start else f"{path}:{number}"
                    yield self._text(decode(line, path, offset), where)
                offset += len(line)

    def _text(self, line, where):
        record = parse_json(
            line, where, f'each line must hold one whole object, such as {{"{self.text_field}": "..."}}'
        )
        if not isinstance(record, dict):
            raise DataError(f"{where}: a JSON {type(record).__name__}, where an object with fields is expected")
        return field(record, self.text_field, where)


def _next_line(file, start):
    """Goes to the first line that begins at `start` or later, and returns where that is."""
    if not start:
        return 0
    file.seek(start - 1)
    return start - 1 + len(file.readline())
