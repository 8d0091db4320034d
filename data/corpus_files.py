"""The files of a prepared corpus: their names, their types, and whether they are whole."""

import contextlib
import hashlib

import numpy as np

from cloze import storage
from cloze.errors import DataError

FORMAT = 1  # counted up when the meaning of the files or the ends of sentences change; old corpora are left alone
BLOCK = 1024  # tokens per record: a random row of 512 decodes 1.5 blocks, a longer one little more than itself
SENTENCE_END = 1  # flag: this token ends a sentence
ENTITY_START = 2  # flag: the first token of a name, date or number
ENTITY = 4  # flag: any of its tokens
SPLITS = ("train", "validation")
MANIFEST = "manifest.json"


@contextlib.contextmanager
def preparing(directory, report):
    """Holds the lock under which a folder of the cache is prepared. Who comes later waits, and then finds it there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    path = directory.with_name(f"{directory.name}.lock")
    with storage.lock(path, lambda: report(f"waiting for another process to prepare {directory}")):
        yield


def is_held_out(text, share):
    """Whether a text belongs to a split that holds out this share of all. The text alone decides."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def record_file(name, number):
    """File name of the token stream of a split in one part."""
    return f"{name}-{number:05d}.array_record"


def document_file(name, number):
    """File name of the ends of a split's documents in one part; kept until all parts are joined."""
    return f"{name}-{number:05d}.documents.npy"


def id_dtype(vocab_size):
    """The numpy type that ids are stored in, little endian: uint16 if that holds them all, else uint32."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def check_file(path, expected, *, checksum):
    """Refuses a file that is not what the manifest says, by its size and, if asked, its checksum.

    Raises:
        DataError: names the file, and what to do.
    """
    if state := storage.difference(path, expected, checksum):
        raise DataError(f"{path} {state}; {remedy(path.parent)}")


@contextlib.contextmanager
def complete(directory):
    """Around what reads the entries of a manifest: one that is missing or of another type is named.

    Raises:
        DataError: instead of KeyError, TypeError, AttributeError and ValueError.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{directory / MANIFEST} is damaged ({reason}); {remedy(directory)}") from error


def remedy(directory):
    """What the user should do about a damaged corpus, as the end of an error message."""
    return f"delete {directory} and run again: it will be prepared anew"


def save_array(path, array):
    """Writes what `np.save` writes.

    Raises:
        OSError: with the reason, which numpy leaves out.
    """
    with storage.writing(path):
        np.save(path, array)


def read_manifest(directory):
    """The manifest of a folder of the cache.

    Raises:
        DataError: it is missing or damaged.
    """
    path = directory / MANIFEST
    try:
        return storage.read_checked(path)
    except FileNotFoundError:
        raise DataError(f"{directory} holds no prepared data: {MANIFEST} is missing; {remedy(directory)}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); {remedy(directory)}") from error
