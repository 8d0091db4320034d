"""How far a word's state depends on its sentence: its similarity in two sentences, layer by layer.

Ethayarajh 2019, arXiv:1909.00512, sections 3.2 to 3.4: cosines are corrected for anisotropy, which is the mean cosine
of different words of the same layer.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np

from cloze import models
from cloze.analysis import pictures
from cloze.analysis.base import ANALYSES, Analysis, Result, read
from cloze.errors import ConfigError
from cloze.options import option

# Sentences whose words stand for any words, where a layer's anisotropy is taken.
ANY_TEXT = (
    "The old bridge was closed after the flood in spring.",
    "She returns a list of numbers when the file cannot be read.",
    "A small company in the north makes chairs of oak and steel.",
    "If the value is negative, an error is raised at once.",
    "Most of the birds had left before the first snow fell.",
    "His brother plays the violin in an orchestra abroad.",
    "The function takes two arrays and adds them element by element.",
    "Nobody knew why the train had stopped between two stations.",
)


@ANALYSES.register("context")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Context(Analysis):
    """The cosine of a word's states in two sentences, less the mean cosine of different words."""

    word: str = option("bank", "the word that stands in both sentences")
    first: str = option("He sat on the bank of the river.", "a sentence with the word")
    second: str = option("She opened an account at the bank.", "another one")

    def run(self, trained, report):
        self.check_model(trained)
        pictures.check()
        texts = [read(trained, text) for text in (self.first, self.second, *ANY_TEXT)]
        places = [
            self._inside(sentence, text) for sentence, text in zip((self.first, self.second), texts, strict=False)
        ]
        first, second, *others = states_of(trained, texts)
        pair = [states[:, inside].mean(axis=1) for states, inside in zip((first, second), places, strict=True)]
        raw, anisotropy, corrected = similarity(*pair, np.concatenate(others, axis=1))
        lines = [
            f"{place}: cosine {a:.3f}, different words {b:.3f}, corrected {c:+.3f}"
            for place, a, b, c in zip(_places(len(raw)), raw, anisotropy, corrected, strict=True)
        ]
        numbers = {
            "word": self.word, "sentences": [self.first, self.second],
            "cosine": raw.tolist(), "anisotropy": anisotropy.tolist(), "corrected": corrected.tolist(),
            "static": 1.0,
        }  # fmt: skip
        panels = [
            (
                "Cosine of its states",
                "cosine",
                {f"“{self.word}” in both": raw, "different words (anisotropy)": anisotropy},
            ),
            (
                "Corrected: the less, the more the sentence decides",
                "cosine - anisotropy",
                {"states": corrected, "a static embedding": 1 - anisotropy},
            ),
        ]
        title = f"“{self.word}” in two sentences"
        note = f"{self.first}\n{self.second}"
        ticks = _places(len(raw), short=True)
        return Result(numbers, tuple(lines), lambda path: pictures.lines(path, panels, ticks, title=title, note=note))

    def _inside(self, sentence, text):
        """bool [T]: which tokens of a sentence, read as `text`, are pieces of the word."""
        found = re.search(rf"(?<!\w){re.escape(self.word)}(?!\w)", sentence, re.IGNORECASE)
        if found is None:
            raise ConfigError(f"the word {self.word!r} does not stand in {sentence!r}: give sentences with the --word")
        inside = (text.spans[:, 0] < found.end()) & (text.spans[:, 1] > found.start())
        if not inside.any():
            raise ConfigError(
                f"the word {self.word!r} stands behind the end of a row of {len(text.ids)} tokens: shorten {sentence!r}"
            )
        return inside


def similarity(first_LD, second_LD, others_LND):
    """What two states of a word say, layer by layer.

    Args:
        first_LD, second_LD: [L, D] states of the word in two sentences.
        others_LND: [L, N, D] states of different words, N of them at least 2.

    Returns:
        (cosine of the two, mean cosine of different words, the difference), each f64 [L].
    """
    first, second, others = (_unit(np.asarray(some, np.float64)) for some in (first_LD, second_LD, others_LND))
    raw, count = np.sum(first * second, axis=-1), others.shape[1]
    sums = others.sum(axis=1)
    # The sum over all pairs of different ones is that over all pairs less that of each with itself.
    each = np.sum(np.square(others), axis=(1, 2))
    anisotropy = (np.sum(np.square(sums), axis=-1) - each) / (count * (count - 1))
    return raw, anisotropy, raw - anisotropy


def states_of(trained, texts):
    """States below the first layer and behind each, before the norm on top of all: a list of f32 [layers + 1, T, D].

    Args:
        trained: training.restore.Trained, an encoder or decoder.
        texts: list of base.Read of T tokens each, special ones included; all are one batch.
    """
    longest = max(len(text.ids) for text in texts)
    batch = {name: np.zeros((len(texts), longest), np.int32) for name in ("tokens", "segments")}
    for row, text in enumerate(texts):
        batch["tokens"][row, : len(text.ids)], batch["segments"][row, : len(text.ids)] = text.ids, 1
    model = models.build(dataclasses.replace(trained.model.config, heads_out=()))
    apply = jax.jit(lambda params, batch: model.apply({"params": params}, batch, collect=True).hidden_states)
    states = np.asarray(apply(trained.params, batch).astype(jnp.float32))
    return [states[:, row, : len(text.ids)] for row, text in enumerate(texts)]


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _places(count, short=False):
    """Names of what is below the first layer and of each layer."""
    return ["input" if short else "below layer 1", *(f"{n}" if short else f"layer {n}" for n in range(1, count))]
