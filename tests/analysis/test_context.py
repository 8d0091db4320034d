"""Similarity of a word in two sentences, against loops, and what has no such word."""

import itertools

import numpy as np
import pytest

from cloze.analysis import ANALYSES, context, pictures
from cloze.analysis.base import read
from cloze.errors import ConfigError

RNG = np.random.default_rng(0)


def quiet(line):
    pass


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_similarity_is_less_that_of_different_words():
    first, second, others = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(3, 5, 4)) + 1
    raw, anisotropy, corrected = context.similarity(first, second, others)
    for layer in range(3):
        pairs = [cosine(a, b) for a, b in itertools.combinations(others[layer], 2)]
        assert raw[layer] == pytest.approx(cosine(first[layer], second[layer]))
        assert anisotropy[layer] == pytest.approx(np.mean(pairs))
    np.testing.assert_allclose(corrected, raw - anisotropy)


def test_the_states_are_those_of_the_words_pieces(encoder, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    given = dict(word="file", first="the file is open", second="every mask reads a large file")
    numbers = ANALYSES["context"](**given).run(encoder, quiet).numbers
    states = []
    for sentence in (given["first"], given["second"]):
        text = read(encoder, sentence)
        found = encoder.model.apply({"params": encoder.params}, text.batch, collect=True).hidden_states[:, 0]
        states.append(np.asarray(found)[:, text.pieces.index("file")])
    np.testing.assert_allclose(numbers["cosine"], [cosine(a, b) for a, b in zip(*states, strict=True)], atol=1e-5)
    np.testing.assert_allclose(numbers["corrected"], np.array(numbers["cosine"]) - numbers["anisotropy"])
    same = ANALYSES["context"](**given | {"second": given["first"]}).run(encoder, quiet).numbers
    np.testing.assert_allclose(same["cosine"], 1, atol=1e-5)


def test_a_word_that_is_not_there_is_one_error(encoder, monkeypatch):
    monkeypatch.setattr(pictures, "check", lambda: None)
    with pytest.raises(ConfigError, match="the word 'seed' does not stand in 'the seeds'"):
        ANALYSES["context"](word="seed", first="the seed", second="the seeds").run(encoder, quiet)
    with pytest.raises(ConfigError, match="behind the end of a row of 24 tokens"):
        ANALYSES["context"](word="seed", first="the " * 40 + "seed", second="seed").run(encoder, quiet)


def test_the_picture_is_drawn(encoder, tmp_path):
    pytest.importorskip("matplotlib")
    given = dict(word="file", first="the file is open", second="a large file")
    ANALYSES["context"](**given).run(encoder, quiet).draw(tmp_path / "context.png")
    assert (tmp_path / "context.png").read_bytes().startswith(b"\x89PNG")
