"""Small prepared arrays in the cache: made once, by one process, and checked when they are opened."""

import pathlib

import numpy as np

from cloze import storage
from cloze.data import corpus_files
from cloze.errors import DataError


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
                    np.save(partial / f"{name}.npy", array)
                files = {f"{name}.npy": corpus_files.describe(partial / f"{name}.npy") for name in arrays}
                corpus_files.write_json(partial / "manifest.json", {"files": files, "facts": facts})
    return _open(directory)


def _open(directory):
    try:
        manifest = storage.read_json(directory / "manifest.json")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{directory / 'manifest.json'} cannot be read ({error}); {corpus_files.remedy(directory)}"
        ) from error
    for file, expected in manifest["files"].items():
        corpus_files.check_file(directory / file, expected, checksum=True)
    arrays = {file.removesuffix(".npy"): np.load(directory / file, mmap_mode="r") for file in manifest["files"]}
    return arrays, manifest["facts"]
