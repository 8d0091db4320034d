"""Files that sources read: of mounted file systems, or at addresses such as gs://bucket/folder, through fsspec."""

import abc
import contextlib
import dataclasses
import glob
import gzip
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

from cloze.data.sources.base import Piece, Source, digest
from cloze.errors import DataError


@dataclasses.dataclass(frozen=True)
class File:
    """A file that is there.

    Attributes:
        path: absolute path, or address.
        size: bytes.
        stamp: changes with the content: the time of the last change, or what the remote system has for it.
    """

    path: str
    size: int
    stamp: Any


def is_remote(path: str) -> bool:
    """Whether a path is an address."""
    return "://" in path


def escaped(path: str) -> str:
    """A glob that matches this path alone."""
    return path if is_remote(path) else glob.escape(path)


def matching(pattern: str, name: str) -> list[File]:
    """The files that match a glob (`**` for any depth), sorted by path; perhaps none.

    Args:
        pattern: path or address, with wildcards or without.
        name: of the source, for messages.

    Raises:
        DataError: the remote system does not answer.
    """
    if is_remote(pattern):
        return _matching_remote(pattern, name)
    paths = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    return [_local(path) for path in paths if os.path.isfile(path)]


def _local(path):
    stat = os.stat(path)
    return File(os.path.abspath(path), stat.st_size, stat.st_mtime_ns)


def _matching_remote(pattern, name):
    with _remote(pattern, name) as (system, path):
        infos = system.glob(path, detail=True)
        return [
            File(system.unstrip_protocol(found), int(info["size"] or 0), system.ukey(found))
            for found, info in sorted(infos.items())
            if info["type"] == "file"
        ]


@contextlib.contextmanager
def _remote(address, name):
    """The file system behind an address and the path there; libraries of clouds raise errors of all kinds."""
    from fsspec.core import url_to_fs  # slow to import, and most runs do without

    try:
        yield url_to_fs(address)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"data source {name!r}: {address} cannot be reached ({type(error).__name__}: {error}); install the package "
            "of fsspec for that address (gcsfs for gs://, s3fs for s3://), look at the credentials, or mount the bucket"
        ) from error


@contextlib.contextmanager
def opened(path: str, errors: tuple = ()) -> Iterator[BinaryIO]:
    """Opens a file to be read; what goes wrong while it is read becomes a message that names it.

    Args:
        path: absolute path, or address.
        errors: exceptions beside OSError that a damaged file of this format gives.

    Raises:
        DataError: it cannot be read.
    """
    damage = (Exception,) if is_remote(path) else (OSError, EOFError, *errors)  # clouds raise errors of all kinds
    try:
        if is_remote(path):
            from fsspec.core import url_to_fs

            system, inner = url_to_fs(path)
            file = system.open(inner, "rb")
        else:
            file = open(path, "rb")
        with file:
            yield file
    except DataError:
        raise
    except damage as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}; is it cut off? Copy or write it again") from None


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[BinaryIO]:
    """`opened`, with the content of a `.gz` file unpacked."""
    with opened(path, (zlib.error,)) as file:
        yield gzip.open(file) if path.endswith(".gz") else file


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Files that match a glob (`**` for any depth), in the order of their paths."""

    after: ClassVar[str] = "GLOB"
    has_paths: ClassVar[bool] = True

    def files(self) -> list[File]:
        """The files that match, sorted.

        Raises:
            DataError: none does.
        """
        files = matching(self.address, self.name)
        if not files:
            raise DataError(
                f"data source {self.name!r}: no file matches {self.address!r}, looked for from {os.getcwd()}; "
                "correct the pattern, or give an absolute path"
            )
        return files

    def check(self):
        files = self.files()
        if not any(file.size for file in files):
            raise DataError(
                f"data source {self.name!r} is empty: all {len(files)} files have 0 bytes, e.g. {files[0].path}"
            )

    def fingerprint(self):
        return digest(*[part for file in self.files() for part in (file.path, file.size, file.stamp)])

    def pieces(self):
        return [piece for file in self.files() for piece in self.cut(file)]

    @abc.abstractmethod
    def cut(self, file: File) -> list[Piece]:
        """The pieces of one file; without any, it is passed over."""
