"""A column of text out of Arrow's tables."""

from collections.abc import Iterator

from cloze.data.sources.records import no_field, text_of
from cloze.errors import DataError

ROWS_PER_READ = 1024  # of one column: some MB


def check_column(schema, name: str, where: str) -> None:
    """Refuses a table without a column of text by that name.

    Args:
        schema: pyarrow.Schema.
        name: of the column.
        where: the file, for messages.

    Raises:
        DataError: names the columns that are there, or the type that is.
    """
    if name not in schema.names:
        raise no_field(where, name, schema.names)
    kind = str(schema.field(name).type)
    if "string" not in kind and "binary" not in kind:
        raise DataError(
            f"{where}: field {name!r} is of type {kind}, where text is expected: choose another with data.text_field"
        )


def texts(column, name: str, path: str, first_row: int) -> Iterator[str]:
    """The texts of a pyarrow.Array.

    Args:
        column: of strings, plain or from a dictionary.
        name: of the column.
        path: its file.
        first_row: number of its first row in the file.

    Raises:
        DataError: a row that holds no text.
    """
    for number, value in enumerate(column.to_pylist(), first_row):
        yield text_of(value, name, f"{path}, row {number}")
