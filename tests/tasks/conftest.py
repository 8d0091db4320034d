"""A small stand-in for the embedded corpus, which takes seconds to read."""

import numpy as np
import pytest

from cloze.data import pydocs

PACKAGES = 12


@pytest.fixture
def documents(monkeypatch, tmp_path):
    """Package i of twelve has 12 + 4 i docstrings, each of words of its own."""
    rng = np.random.default_rng(0)
    made = [
        pydocs.Document(
            " ".join(f"word{i} and {w}" for w in rng.integers(0, 10_000, 6)) + ".", f"package{i}", f"{i}.{n}"
        )
        for i in range(PACKAGES)
        for n in range(12 + 4 * i)
    ]
    monkeypatch.setattr(pydocs, "documents", lambda: iter(made))
    monkeypatch.setattr(pydocs, "CACHE", tmp_path / "cache")
    return made
