"""Skip-gram with negative sampling (Mikolov et al. 2013, "Distributed representations of words ...", section 2).

A word is to tell its neighbours from words drawn at random.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives.base import Objective, Term, check_length, check_packing, check_share, padding


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SkipGram(Objective):
    """Pairs of a word and a neighbour against pairs of the word and noise, each a logistic regression.

    Frequent words are left out at random before windows are laid, so that what remains moves together, and each word
    has a window of its own of 1 to `window` words to either side. Noise that happens to be the neighbour does not
    count.

    Vectors of zero lose (negatives + 1) ln 2 a pair. A score that depends on the context alone does better, and best
    with log(p / (k q)), p being the share of the context among neighbours and q among noise.

    Attributes:
        window: words to either side at most.
        negatives: K, noise words a pair.
        subsample: see `keep_probabilities`.
        noise_power: see `noise_table`.
        special: bool [V], ids that are neither words, neighbours nor noise.
        keep: f32 [V], see `keep_probabilities`.
        noise: f32 [V], see `noise_table`.
    """

    architectures = ("word_vectors",)
    window: int
    negatives: int
    subsample: float
    noise_power: float
    special: Any
    keep: Any
    noise: Any

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows over the text, or documents side by side; counts of words come with the corpus."""
        del model_config
        objective = config.objective
        check_length(config, 2)
        check_context_window(config)
        if objective.negatives < 1:
            raise ConfigError(f"objective.negatives={objective.negatives} must be at least 1 (published: 5 to 20)")
        check_share("objective.noise_power", objective.noise_power, zero=True, one=True)
        check_share("objective.subsample", objective.subsample, zero=True)
        special = np.asarray(tables.special, bool)
        made = cls(
            rows=check_packing(config, ("windows", "documents"))(
                length=config.data.sequence_length,
                document_end=tables.eos,
                pad=padding(tables),
            ),
            outputs=(),
            window=objective.context_window,
            negatives=objective.negatives,
            subsample=objective.subsample,
            noise_power=objective.noise_power,
            special=special,
            keep=None,
            noise=None,
        )
        return made.with_counts(np.ones(len(special), np.int64))

    def with_counts(self, counts):
        """What is left out and what is noise, by the counts of the training text."""
        counts = np.where(self.special, 0, counts)
        if not counts.any():
            raise ConfigError("objective.name=skip_gram: the training text has no word that is not a special token")
        return dataclasses.replace(
            self,
            keep=keep_probabilities(counts, self.subsample),
            noise=noise_table(counts, self.noise_power),
        )

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
        segments_R = row["segments"] if "segments" in row else 1 + jnp.cumsum(tokens_R == self._document_end)
        kept_R = jax.random.uniform(keep_key, (length,)) < jnp.asarray(self.keep)[tokens_R]
        kept_R &= ~jnp.asarray(self.special)[tokens_R] & (segments_R > 0)
        order_R = jnp.argsort(~kept_R, stable=True)
        tokens_R = tokens_R[order_R]
        segments_R = jnp.where(kept_R[order_R], segments_R[order_R], 0)

        reach_R = jax.random.randint(window_key, (length,), 1, self.window + 1)
        offsets_C = np.concatenate([np.arange(-self.window, 0), np.arange(1, self.window + 1)])
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

    @property
    def _document_end(self):
        return -1 if self.rows.document_end is None else self.rows.document_end


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


def check_context_window(config):
    """Refuses windows that hold no neighbour or are longer than the row.

    Raises:
        ConfigError: names objective.context_window and its bounds.
    """
    window, length = config.objective.context_window, config.data.sequence_length
    if not 1 <= window < length:
        raise ConfigError(
            f"objective.context_window={window} must be at least 1 and below data.sequence_length={length}"
        )
