"""Files and folders that are either whole or not there, and locks between processes of one machine."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

LARGEST_JSON = 1 << 30  # bytes


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
        yield partial
        if partial.is_file():
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        if path.is_dir():
            path.rmdir()
        os.replace(partial, path)
    finally:
        remove(partial)


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder with all that is in it; it need not be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
