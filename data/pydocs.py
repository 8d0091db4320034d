"""The embedded corpus: the prose that every installation of Cloze already has.

It is made of the language reference in `pydoc_data.topics` and of the docstrings of the standard
library and of Cloze's base requirements. Source files are parsed, never imported, so that reading
the corpus has no side effects and needs no accelerator. Packages that only tests or extras need
(torch, transformers, ...) are left out: the corpus must not depend on them.
"""

import ast
import collections
import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import pathlib
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator

from cloze import storage

CACHE = pathlib.Path("~/.cache/cloze")
FORMAT = 1  # part of the fingerprint: raise it when the rules below select or cut text differently

PYTHON = "python"
PACKAGES = {  # import name: distribution. The base requirements, and what they themselves always require.
    "absl": "absl-py",
    "array_record": "array-record",
    "etils": "etils",
    "flax": "flax",
    "fsspec": "fsspec",
    "grain": "grain",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "ml_collections": "ml-collections",
    "numpy": "numpy",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "pyarrow": "pyarrow",
    "requests": "requests",
    "rich": "rich",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "tensorboardX": "tensorboardX",
    "tensorflow_datasets": "tensorflow-datasets",
    "tokenizers": "tokenizers",
    "treescope": "treescope",
}
MIN_CHARACTERS = 80  # shorter docstrings are labels ("Return the name.") rather than prose

_SKIPPED_FOLDERS = frozenset(
    "__pycache__ dist-packages idle_test internal_test_util lib2to3 pydoc_data site-packages test test_data "
    "testdata testing tests third_party _vendor".split()
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclasses.dataclass(frozen=True)
class Document:
    """One docstring or reference topic.

    Attributes:
        text: the text, dedented, without its title.
        package: the import name of the package it comes from; "python" for the standard library.
        name: the qualified name of what it documents, e.g. "numpy.linalg.svd".
    """

    text: str
    package: str
    name: str


def fingerprint() -> str:
    """A hash that changes when a package the corpus reads changes version; reads none of the files."""
    parts = [f"format {FORMAT}", f"python {platform.python_version()}"]
    for package in sorted(PACKAGES):
        parts.append(f"{package} {_version(package)}" if _roots(package) else f"{package} absent")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def documents() -> Iterator[Document]:
    """Yields every document once, sorted by package, file and line.

    The order and the texts depend on the installed versions alone. Of equal texts the first is kept.
    """
    seen = set()
    for package in sorted([*PACKAGES, PYTHON]):
        for document in _package_documents(package):
            key = hashlib.sha256(document.text.encode()).digest()
            if key not in seen:
                seen.add(key)
                yield document


def counts() -> dict[str, int]:
    """How many documents each package has, without those that have none.

    Counting takes as long as reading the corpus, so what was counted is kept in the folder of the cache.
    """
    kept = CACHE.expanduser() / f"pydocs-{fingerprint()[:16]}.json"
    try:
        return storage.read_checked(kept)
    except (OSError, ValueError):
        found = dict(collections.Counter(document.package for document in documents()))
    with contextlib.suppress(OSError):  # a home that cannot be written to
        kept.parent.mkdir(parents=True, exist_ok=True)
        storage.write_checked(kept, found)
    return found


def _version(package):
    try:
        return importlib.metadata.version(PACKAGES[package])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _roots(package):
    """The folders that hold a package's modules; none when it is not installed."""
    if package == PYTHON:
        return [sysconfig.get_paths()["stdlib"]]
    spec = importlib.util.find_spec(package)  # finds a top-level package without importing it
    return sorted(spec.submodule_search_locations or ()) if spec else []


@functools.cache  # a run reads the corpus twice (tokenizer, tokens); parsing costs more than keeping the text
def _package_documents(package):
    documents = list(_topics()) if package == PYTHON else []
    for root in map(pathlib.Path, _roots(package)):
        for path in _python_files(root):
            module = path.relative_to(root).with_suffix("").parts
            module = module[:-1] if module[-1] == "__init__" else module
            name = ".".join(module if package == PYTHON else (package, *module))
            documents.extend(Document(text, package, where) for where, text in _docstrings(path, name))
    return tuple(document for document in documents if _is_prose(document.text))


def _topics():
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        yield Document(topics[topic].strip(), PYTHON, f"pydoc_data.topics.{topic}")


def _python_files(root):
    """Paths of the modules under `root` that are written by hand and are not tests, sorted."""
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        paths.extend(pathlib.Path(folder, name) for name in files if name.endswith(".py"))
    for path in sorted(paths):
        generated = path.stem.endswith(("_pb2", "_pb2_grpc"))
        if not generated and not path.stem.startswith("test_") and not path.stem.endswith("_test"):
            yield path


def _docstrings(path, module):
    """Yields (qualified name, text) of the docstrings in one file; nothing if Python cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # templates, files for another Python, broken encodings
        return
    yield from _visit(tree, module)


def _visit(node, name):
    if isinstance(node, (ast.Module, *_DEFINITIONS)):
        text = ast.get_docstring(node, clean=True)
        if text:
            yield name, text
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield from _added_docs(node.value, name)
    for field in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, field, ()):
            if isinstance(child, _DEFINITIONS):
                yield from _visit(child, f"{name}.{child.name}")
            elif isinstance(child, (ast.stmt, ast.ExceptHandler)):
                yield from _visit(child, name)


def _added_docs(call, module):
    """numpy and scipy attach the docstrings of compiled functions with `add_newdoc(..., name, text)`."""
    function = call.func
    if getattr(function, "id", getattr(function, "attr", "")) != "add_newdoc":
        return
    strings = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    name = [module]
    for string in strings:
        if len(string) >= MIN_CHARACTERS or "\n" in string:
            yield ".".join(name), inspect.cleandoc(string)
        else:
            name.append(string)


def _is_prose(text):
    """True for text long enough to learn from that is neither a licence nor a list of examples."""
    if _SURROGATE.search(text):  # half a character, which no tokenizer can take
        return False
    if len(text) < MIN_CHARACTERS or "Licensed under the" in text or text.startswith("Copyright"):
        return False
    lines = text.splitlines()
    return 2 * sum(line.lstrip().startswith((">>>", "...")) for line in lines) <= len(lines)
