"""Skip-gram with negative sampling (Mikolov et al. 2013, "Distributed representations of words ...", section 2).

A word is to tell its neighbours from words drawn at random.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES, Objective, Term
from cloze.objectives.masking import marked
from cloze.options import option


@OBJECTIVES.register("skip_gram")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SkipGram(Objective):
    """Pairs of a word and a neighbour against pairs of the word and noise, each a logistic regression.

    Frequent words are left out at random before windows are laid, so that what remains moves together, and each word
    has a window of its own of 1 to `context_window` words to either side. Noise that happens to be the neighbour does
    not count.

    Vectors of zero lose (negatives + 1) ln 2 a pair. A score that depends on the context alone does better, and best
    with log(p / (k q)), p being the share of the context among neighbours and q among noise.

    Attributes:
        counts: int64 [V], how often each id occurs; the corpus brings them.
        special: bool [V], ids that are neither words, neighbours nor noise; None: there are none.
        eos_id: id that ends documents, where they are joined in one window.
    """

    architectures = ("word_vectors",)
    outputs = ()
    packings = ("windows", "documents")
    shortest = 2
    context_window: int = option(
        5,
        "most places to either side that a word goes with; a number up to it is drawn for each word",
        least=1,
    )
    negatives: int = option(5, "noise words for each pair of a word and a context (published: 5 to 20)", least=1)
    noise_power: float = option(0.75, "noise words are drawn by their counts to this power", least=0, most=1)
    subsample: float = option(
        1e-5, "a word of frequency f is left out with probability 1 - sqrt(subsample / f); 0: never", least=0, below=1
    )
    counts: Any
    special: Any = None
    eos_id: int | None = None

    @classmethod
    def plain_fields(cls, config, tables, model_config):
        """Until the corpus brings counts, all words are alike."""
        return super().plain_fields(config, tables, model_config) | dict(counts=np.ones(tables.vocab_size, np.int64))

    @property
    def rows(self):
        """Windows over the text, or documents side by side."""
        return self.packed(length=self.length, document_end=self.eos_id)

    def check_fit(self, config, tables, model_config):
        """Windows must be shorter than rows."""
        super().check_fit(config, tables, model_config)
        if self.context_window >= self.length:
            raise ConfigError(
                f"objective.context_window={self.context_window} must be below data.sequence_length={self.length}"
            )

    def with_counts(self, counts):
        """By the counts of the training text."""
        counted = dataclasses.replace(self, counts=np.asarray(counts))
        if not counted._word_counts.any():
            raise ConfigError("objective.name=skip_gram: the training text has no word that is not a special token")
        return counted

    @property
    def _word_counts(self):
        return self.counts if self.special is None else np.where(self.special, 0, self.counts)

    @functools.cached_property
    def keep(self):
        """f32 [V], see `keep_probabilities`."""
        return keep_probabilities(self._word_counts, self.subsample)

    @functools.cached_property
    def noise(self):
        """f32 [V], see `noise_table`."""
        return noise_table(self._word_counts, self.noise_power)

    def corrupt_row(self, key, row):
        """Pairs of one row.

        Returns:
            tokens [T]: the words that are kept, in order, and behind them the rest; segments [T], different ones for
            different documents, 0 for the rest;
            contexts int32 [T, 2 * window, 1 + K]: each neighbour of a word, followed by its noise;
            context_weights f32 of that shape, 0 where there is no such pair or the noise is the neighbour.
        """
        keep_key, window_key, noise_key = jax.random.split(key, 3)
        tokens_R = row["tokens"]
        length = tokens_R.shape[0]
        # Before words are left out: a document's end is what tells it from the next one in a window.
        document_end = -1 if self.eos_id is None else self.eos_id
        segments_R = row["segments"] if "segments" in row else 1 + jnp.cumsum(tokens_R == document_end)
        kept_R = jax.random.uniform(keep_key, (length,)) < jnp.asarray(self.keep)[tokens_R]
        kept_R &= ~marked(self.special, tokens_R, False) & (segments_R > 0)
        order_R = jnp.argsort(~kept_R, stable=True)
        tokens_R = tokens_R[order_R]
        segments_R = jnp.where(kept_R[order_R], segments_R[order_R], 0)

        reach_R = jax.random.randint(window_key, (length,), 1, self.context_window + 1)
        offsets_C = np.concatenate([np.arange(-self.context_window, 0), np.arange(1, self.context_window + 1)])
        places_RC = jnp.arange(length)[:, None] + offsets_C
        inside_RC = (places_RC >= 0) & (places_RC < length) & (abs(offsets_C) <= reach_R[:, None])
        places_RC = jnp.clip(places_RC, 0, length - 1)
        pairs_RC = inside_RC & (segments_R[places_RC] == segments_R[:, None]) & (segments_R[:, None] > 0)

        neighbours_RC1 = tokens_R[places_RC][..., None]
        drawn_RCK = jax.random.uniform(noise_key, (*places_RC.shape, self.negatives))
        # A draw lies below 1, so that the first entry above it is that of a word with noise, never behind the last.
        found_RCK = jnp.searchsorted(jnp.asarray(self.noise), drawn_RCK, side="right", method="scan_unrolled")
        noise_RCK = found_RCK.astype(tokens_R.dtype)
        contexts = jnp.concatenate([neighbours_RC1, noise_RCK], axis=-1)
        counts_RCK = pairs_RC[..., None] & (noise_RCK != neighbours_RC1)
        weights = jnp.concatenate([pairs_RC[..., None], counts_RCK], axis=-1).astype(jnp.float32)
        return {"tokens": tokens_R, "segments": segments_R, "contexts": contexts, "context_weights": weights}

    def loss(self, outputs, batch):
        """Terms "loss" (nats a pair, its noise included) and "accuracy" (neighbours and noise told apart)."""
        scores, weights = outputs.heads["context"], batch["context_weights"]
        is_neighbour = jnp.arange(scores.shape[-1]) == 0
        losses = jax.nn.softplus(jnp.where(is_neighbour, -scores, scores))
        right = jnp.where(is_neighbour, scores > 0, scores < 0)
        return {
            "loss": Term(_total(losses * weights), _total(weights[..., 0]), 1.0),
            "accuracy": Term(_total(right * weights), _total(weights), 0.0),
        }


def _total(array):
    """The sum of a large array in f32, axis by axis from the last: one sum over a million loses four digits."""
    while array.ndim:
        # Without the barrier the compiler makes one sum of them again.
        array = jax.lax.optimization_barrier(jnp.sum(array, axis=-1))
    return array


def keep_probabilities(counts, subsample):
    """f32 [V]: sqrt(subsample / frequency), at most 1 (Mikolov et al. 2013, equation 5); 1 throughout for 0."""
    frequencies = counts / counts.sum()
    if not subsample:
        return np.ones(len(counts), np.float32)
    return np.minimum(1.0, np.sqrt(subsample / np.maximum(frequencies, 1e-300))).astype(np.float32)


def noise_table(counts, power):
    """f32 [V]: the cumulative distribution of counts ** power, exactly 1 from the last word with a count on.

    A word without a count has no noise, whatever the power.
    """
    shares = np.where(counts > 0, counts.astype(np.float64) ** power, 0.0)
    cumulative = np.cumsum(shares)
    table = (cumulative / cumulative[-1]).astype(np.float32)
    table[np.flatnonzero(shares)[-1] :] = 1.0
    return table
