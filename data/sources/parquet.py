"""Parquet files: one column of each, read a row group at a time."""

import contextlib
import dataclasses

from cloze.data.sources import base
from cloze.data.sources.base import SOURCES, Piece, digest
from cloze.data.sources.files import FileSource, opened
from cloze.data.sources.tables import ROWS_PER_READ, check_column, texts


@contextlib.contextmanager
def _read(path):
    """A pyarrow.parquet.ParquetFile, of which only the footer has been read."""
    import pyarrow
    from pyarrow import parquet  # slow to import, and most runs do without

    with opened(path, (pyarrow.ArrowException,)) as file:
        yield parquet.ParquetFile(file)


@SOURCES.register("parquet")
@dataclasses.dataclass(frozen=True)
class ParquetSource(FileSource):
    """Parquet files with a document in each row of the column `text_field`.

    Of a row group one column is read, `ROWS_PER_READ` rows at a time. A piece is (path, first row group, behind the
    last); files of less than a piece are not opened to be cut.
    """

    def check(self):
        super().check()
        path = self.files()[0].path
        with _read(path) as table:
            check_column(table.schema_arrow, self.text_field, path)

    def fingerprint(self):
        return digest("parquet", super().fingerprint(), self.text_field)

    def cut(self, file):
        if file.size <= base.PIECE_BYTES:
            return [Piece(file.size, (file.path, 0, None))]
        with _read(file.path) as table:
            return [Piece(part.size, (file.path, *part.place)) for part in base.steps(table.num_row_groups, file.size)]

    def texts(self, piece):
        path, first, last = piece.place
        with _read(path) as table:
            check_column(table.schema_arrow, self.text_field, path)
            groups = range(table.num_row_groups)
            row = sum(table.metadata.row_group(group).num_rows for group in groups[:first])
            for group in groups[first:last]:
                batches = table.iter_batches(ROWS_PER_READ, row_groups=[group], columns=[self.text_field])
                for batch in batches:
                    yield from texts(batch.column(0), self.text_field, path, row)
                    row += batch.num_rows
