"""Directories that `save_to_disk` of Hugging Face's `datasets` has written, read without that package.

A directory holds Arrow streams and `state.json`, which names them in order. That of several splits holds one such
directory for each, and `dataset_dict.json`, which names these.
"""

import contextlib
import dataclasses
import os
import struct

from cloze.data.sources.base import SOURCES, Piece, digest
from cloze.data.sources.files import FileSource, escaped, is_remote, matching, opened
from cloze.data.sources.records import parse_json
from cloze.data.sources.tables import check_column, texts
from cloze.errors import DataError
from cloze.options import suggest

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_END = struct.pack("<iI", -1, 0)  # of an Arrow stream (Arrow columnar format, "IPC Streaming Format")


@contextlib.contextmanager
def _read(path):
    """A pyarrow.RecordBatchStreamReader; of a local file only what is used comes into memory."""
    import pyarrow  # slow to import, and most runs do without

    with opened(path, (pyarrow.ArrowException,)) as file, contextlib.ExitStack() as stack:
        file.seek(-len(_END), os.SEEK_END)
        if file.read() != _END:  # a stream cut between two batches would end without an error
            raise EOFError("the end of the Arrow stream is missing")
        file.seek(0)
        mapped = file if is_remote(path) else stack.enter_context(pyarrow.memory_map(path))
        yield stack.enter_context(pyarrow.ipc.open_stream(mapped))


@SOURCES.register("hf")
@dataclasses.dataclass(frozen=True)
class HuggingFaceSource(FileSource):
    """What `datasets.save_to_disk` wrote: DIRECTORY, or DIRECTORY:SPLIT of several splits ("train" if not given).

    Each row of the column `text_field` is a document. A piece is one of the directory's files.
    """

    after = "DIRECTORY"

    def files(self):
        directory = self._directory()
        state = self._json(f"{directory}/{_STATE}")
        named = state.get("_data_files")
        if not isinstance(named, list) or not all(isinstance(one, dict) and "filename" in one for one in named):
            raise DataError(f"{directory}/{_STATE} names no data files; write the directory again with save_to_disk")
        if state.get("_indices_data_files"):
            raise DataError(
                f"{directory} holds indices into a larger data set, as early versions of datasets wrote them: load it "
                "and write it again with save_to_disk"
            )
        files = [
            (path, matching(escaped(path), self.name)) for path in (f"{directory}/{one['filename']}" for one in named)
        ]
        for path, there in files:
            if not there:
                raise DataError(f"data source {self.name!r}: {path} is missing, which {_STATE} names; copy it again")
        return [file for _, there in files for file in there]

    def _directory(self):
        """The directory with the state of the data set, in which its files are."""
        address = self.address.rstrip("/")
        if self._has(address, _STATE):
            return address
        directory, split = address, ""
        if not self._has(address, _SPLITS):
            directory, _, split = address.rpartition(":")
        if directory and self._has(directory, _STATE):
            raise DataError(f"data source {self.name!r}: {directory} has no splits; write hf:{directory}")
        if not directory or not self._has(directory, _SPLITS):
            raise DataError(
                f"data source {self.name!r}: no {_STATE} or {_SPLITS} in {address}, looked for from {os.getcwd()}; "
                "name a directory that save_to_disk of datasets has written"
            )
        known = self._json(f"{directory}/{_SPLITS}").get("splits", [])
        split = split or "train"
        if split not in known:
            raise DataError(
                f"data source {self.name!r}: no split {split!r}{suggest(split, known) or ';'} the splits are "
                f"{', '.join(map(str, known)) or 'none'}: write hf:{directory}:SPLIT"
            )
        return f"{directory}/{split}"

    def _has(self, directory, file):
        return bool(matching(escaped(f"{directory}/{file}"), self.name))

    def _json(self, path):
        path = os.path.expanduser(path)
        with opened(path) as file:
            value = parse_json(file.read().decode("utf-8", "replace"), path, "is it cut off? Copy or write it again")
        if not isinstance(value, dict):
            raise DataError(f"{path}: a JSON {type(value).__name__}, where an object is expected")
        return value

    def check(self):
        super().check()
        path = self.files()[0].path
        with _read(path) as stream:
            check_column(stream.schema, self.text_field, path)

    def fingerprint(self):
        return digest("hf", super().fingerprint(), self.text_field)

    def cut(self, file):
        return [Piece(file.size, file.path)]

    def texts(self, piece):
        row = 0
        with _read(piece.place) as stream:
            check_column(stream.schema, self.text_field, piece.place)
            place = stream.schema.get_field_index(self.text_field)
            for batch in stream:
                yield from texts(batch.column(place), self.text_field, piece.place, row)
                row += batch.num_rows
