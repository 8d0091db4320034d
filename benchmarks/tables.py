"""What a benchmark prints: Markdown that says what was run, when and on what; and how it gets into a page."""

import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import sys
import time

CPU_INFO = pathlib.Path("/proc/cpuinfo")  # of Linux
BUSY = os.getloadavg()[0]  # before the benchmark itself keeps the machine busy


def heading(*more):
    """The first line of a benchmark's output: command, date, machine, versions.

    Args:
        more: further words on what was measured.
    """
    command = " ".join(["python -m", _module(), *map(shlex.quote, sys.argv[1:])])
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "torch") if _installed(name))
    words = [f"`{command}`", time.strftime("%Y-%m-%d"), machine(), f"Python {platform.python_version()}", versions]
    return f"{', '.join(filter(None, [*words, *more]))}.\n"


def _module():
    return getattr(sys.modules["__main__"].__spec__, "name", pathlib.Path(sys.argv[0]).stem)


def _installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def machine():
    """Cores, the kind of CPU, and the mean number of running processes in the minute before."""
    text = CPU_INFO.read_text() if CPU_INFO.is_file() else ""
    name = re.search(r"model name\s*: (.*)", text)
    sets = next((label for label, flag in (("AVX-512", "avx512f"), ("AVX2", "avx2")) if flag in text), "")
    kind = " ".join(filter(None, [name[1].strip() if name else platform.machine(), sets]))
    return f"{len(os.sched_getaffinity(0))} cores of {kind}, {BUSY:.1f} processes running before"


def row(*cells):
    """A row of a table; None is an empty cell."""
    return f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |"


def head(*columns):
    """The first two lines of a table."""
    return f"{row(*columns)}\n|{'---|' * len(columns)}"


def replace(page, name, content):
    """A page with new text between `<!-- begin: NAME -->` and `<!-- end: NAME -->`.

    Args:
        page: the Markdown of the page.
        name: of the markers.
        content: what comes between them, on lines of its own.

    Raises:
        ValueError: the page has not exactly one such pair of markers.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    parts = re.split(f"({re.escape(begin)}|{re.escape(end)})", page)
    if parts[1::2] != [begin, end]:
        raise ValueError(f"the page needs one line {begin!r} and after it one line {end!r}; it has {parts[1::2]}")
    if begin in content or end in content:
        raise ValueError(f"the text for {name} holds its own markers")
    return f"{parts[0]}{begin}\n{content.strip()}\n{end}{parts[4]}"
