"""Files and folders that are either whole or not there, and locks between processes of one machine."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator


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
            sync(partial)
        if path.is_dir():
            path.rmdir()
        os.replace(partial, path)
    finally:
        remove(partial)


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
