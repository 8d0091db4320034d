"""Files and folders that are either whole or not there, and locks between processes of one machine."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from cloze.errors import WriteError

CHECKSUM = "checksum"
_ALGORITHM = "blake2b:"
# Why a system does not write: no space, a quota, a file larger than allowed, a place that may not be written to.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
LARGEST_JSON = 1 << 30  # bytes


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a path to write a file or a folder at, which becomes `path` at the end if nothing went wrong.

    A file that is there is replaced, and so is an empty folder. What a killed process has left of the same file goes.

    Raises:
        OSError: it cannot be written, or a folder that is not empty is in the way.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        with writing(path):
            yield partial
        if partial.is_file():
            sync(partial)
        if path.is_dir():
            path.rmdir()
        os.replace(partial, path)
    finally:
        remove(partial)


class Appender:
    """A file that text is appended to, all of it at once: nothing is left to be written later, as the process ends.

    Args:
        path: of the file, which is made if it is not there.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = path
        self._file = open(path, "ab", buffering=0)

    def write(self, text: str) -> None:
        content = text.encode(errors="backslashreplace")
        with writing(self._path):
            while content:
                content = content[self._file.write(content) :]

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Around what writes a file: an error of any library that tells why the system refused becomes an OSError.

    Raises:
        OSError: with its number and the file.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        number = refusal(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), getattr(error, "filename", None) or str(path)) from error


def refusal(error: Exception) -> int | None:
    """Which of `REFUSALS` is behind an error of any library; None: none of them is known to be."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in REFUSALS else None
    text = str(error)
    if " requested and " in text and text.endswith(" written"):  # numpy's, which does not say more
        return errno.ENOSPC
    return next((number for number in REFUSALS if os.strerror(number) in text), None)


def write_error(error: OSError) -> WriteError | None:
    """The message for the user where the system refused to write; None: it is another error."""
    number = refusal(error)
    if number is None:
        return None
    return WriteError(
        f"cannot write {error.filename or 'a file'}: {os.strerror(number)}. Free some space or make the place "
        "writable, then run the same command again: what was finished is kept"
    )


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is none, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: the file cannot be read, is no regular file (a pipe would be waited for), or is too large for JSON.
        ValueError: it holds something else than one JSON object.
    """
    path = pathlib.Path(path)
    check_regular(path)
    if path.stat().st_size > LARGEST_JSON:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_JSON} bytes", str(path))
    found = parse_json(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"it holds a JSON {type(found).__name__}, expected an object")
    return found


def check_regular(path: pathlib.Path) -> None:
    """Raises OSError for what is no regular file: a folder, a pipe, a device; links are followed."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def write_checked(path: str | os.PathLike, value: dict) -> None:
    """Writes a JSON object with a checksum of its own."""
    with whole(path) as partial:
        partial.write_text(json.dumps({**value, CHECKSUM: _checksum(value)}, indent=1))


def read_checked(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what `write_checked` has written; what an earlier version wrote without a checksum is read as it is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; says how.
    """
    value = read_json(path)
    expected = value.pop(CHECKSUM, None)
    if (expected is not None or _ALGORITHM in json.dumps(value)) and expected != _checksum(value):
        raise ValueError("its checksum differs: it has changed since it was written")
    return value


def describe(path: pathlib.Path) -> dict:
    """What `difference` holds a file to: {"bytes": int, "sha256": hex digest}."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def difference(path: pathlib.Path, expected: dict, checksum: bool = True) -> str | None:
    """How a file differs from what `describe` said of it, by its size and, if asked, its checksum; None: not at all."""
    size = path.stat().st_size if path.exists() else None
    if size != expected["bytes"]:
        state = "is missing" if size is None else f"holds {size} bytes"
        return f"{state}, expected {expected['bytes']} bytes"
    if checksum and describe(path)["sha256"] != expected["sha256"]:
        return "has changed since it was written (its checksum differs)"
    return None


def _checksum(value):
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return _ALGORITHM + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sync(path: pathlib.Path) -> None:
    """Returns when the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder with all that is in it; it need not be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_locked(path: str | os.PathLike) -> bool:
    """Whether another process holds a lock; a file that is not there is not locked."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextlib.contextmanager
def lock(path: str | os.PathLike, busy: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock, which ends with the process, however that ends.

    Args:
        path: of an empty file, which is made and stays; its folder is there.
        busy: called if another process holds the lock. When it returns, the lock is waited for.
    """
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
