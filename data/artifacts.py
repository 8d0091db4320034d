"""Small prepared arrays in the cache: made once, by one process, and checked when they are opened."""

import pathlib

import numpy as np

from cloze import storage
from cloze.data import corpus_files


def prepare(directory, make, report):
    """The arrays of a directory, which are made if it is not there.

    Args:
        directory: path; its name must stand for everything that decides the arrays.
        make: () -> ({name: array}, dict of facts that JSON can hold); called by one process, others wait for it.
        report: called with progress messages.

    Returns:
        ({name: array mapped from its file}, the facts).

    Raises:
        DataError: a file is missing or has changed.
    """
    directory = pathlib.Path(directory)
    with corpus_files.preparing(directory, report):
        if not directory.is_dir():
            arrays, facts = make()
            with storage.whole(directory) as partial:
                partial.mkdir()
                for name, array in arrays.items():
                    corpus_files.save_array(partial / f"{name}.npy", array)
                files = {f"{name}.npy": storage.describe(partial / f"{name}.npy") for name in arrays}
                storage.write_checked(partial / corpus_files.MANIFEST, {"files": files, "facts": facts})
    return _open(directory)


def _open(directory):
    manifest = corpus_files.read_manifest(directory)
    with corpus_files.complete(directory):
        files, facts = manifest["files"], manifest["facts"]
        for file, expected in files.items():
            corpus_files.check_file(directory / file, expected, checksum=True)
        return {file.removesuffix(".npy"): np.load(directory / file, mmap_mode="r") for file in files}, facts
