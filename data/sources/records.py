"""Texts out of records: of JSON objects, of tensorflow-datasets, of columns of tables."""

import re
from collections.abc import Mapping

from cloze import storage
from cloze.errors import DataError
from cloze.options import suggest

_SURROGATE = re.compile("[\ud800-\udfff]")


def field(record: Mapping, name: str, where: str) -> str:
    """The text in one field of a record, as a str that any encoder accepts.

    Args:
        record: {field: value}.
        name: of the field.
        where: file and place in it, for messages.

    Raises:
        DataError: no such field, or it holds no text.
    """
    if name not in record:
        raise no_field(where, name, record)
    return text_of(record[name], name, where)


def no_field(where: str, name: str, known) -> DataError:
    """The error for a field that is not among those known."""
    return DataError(
        f"{where}: no field {name!r}{suggest(name, known) or ';'} the fields there are "
        f"{', '.join(map(str, known)) or 'none'}: choose one with data.text_field"
    )


def text_of(value, name: str, where: str) -> str:
    """The text that a field holds; bytes, as tensorflow-datasets gives them, are decoded.

    Raises:
        DataError: it is no text.
    """
    if isinstance(value, bytes):
        value = decode(value, f"{where}, field {name!r}", 0)
    if not isinstance(value, str):
        raise DataError(f"{where}: field {name!r} holds a {type(value).__name__}, where text is expected")
    return whole_characters(value)


def parse_json(text: str, where: str, hint: str):
    """A JSON value, whose texts any encoder accepts.

    Args:
        text: the JSON.
        where: file and line, for messages.
        hint: what to look for where it is not valid.

    Raises:
        DataError: it is not valid, or too deep.
    """
    try:
        value = storage.parse_json(text)
        return _with_whole_characters(value) if r"\ud" in text.lower() else value
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); {hint}") from None


def _with_whole_characters(value):
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): _with_whole_characters(item) for key, item in value.items()}
    return value


def whole_characters(text: str) -> str:
    """A text with U+FFFD for halves of surrogate pairs, which JSON can spell (web text does) and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


def decode(content: bytes, path, offset: int) -> str:
    """UTF-8 to text, without a mark of the byte order; `offset` is where in the file the content begins.

    Raises:
        DataError: names the byte that is not UTF-8.
    """
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: the byte at offset {offset + error.start} is not UTF-8; save the file as UTF-8"
        ) from None
