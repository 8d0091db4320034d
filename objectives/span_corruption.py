"""T5's span corruption: spans are replaced by sentinels and spelled out in the targets (Raffel et al. 2020, 3.1.4)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from cloze.data.rows import Windows
from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.draws import random_order
from cloze.objectives.masking import MaskRate
from cloze.objectives.sentinels import TOKENIZER_ADVICE, SentinelTargets
from cloze.options import option


def noise_counts(tokens_length, density, mean_span):
    """How many tokens to hide in a row and in how many spans.

    Args:
        tokens_length: tokens of the row, at least 2.
        density: share of the tokens that is hidden.
        mean_span: mean length of a span.

    Returns:
        (tokens, spans), Python ints of at least 1. Halves round to even, as in the reference.
    """
    noise = min(max(round(tokens_length * density), 1), tokens_length - 1)
    return noise, max(1, round(noise / mean_span))


def lengths(inputs_length, density, mean_span):
    """How long a row must be to fill the encoder exactly, and the targets that it makes.

    Args:
        inputs_length: tokens of the encoder: what is kept, a sentinel a span and the end token.
        density: share of the tokens that is hidden, in (0, 1).
        mean_span: mean length of a span, at least 1.

    Returns:
        (tokens_length, targets_length), Python ints; targets are what is hidden, a sentinel a span and the end token.
        Counts are those of T5's `random_spans_helper`, except that no row is shaved where that would leave the
        encoder one token short.
    """

    def emitted(tokens_length):
        noise, spans = noise_counts(tokens_length, density, mean_span)
        return tokens_length - noise + spans + 1, noise + spans + 1

    tokens_length = inputs_length - 1
    while emitted(tokens_length + 1)[0] <= inputs_length:
        tokens_length += 1
    # At a density of one half, rounding can make the targets longer than the inputs.
    targets_length = emitted(tokens_length)[1]
    if density == 0.5 and targets_length > inputs_length == emitted(tokens_length - 1)[0]:
        tokens_length -= 1
        targets_length -= 1
    return tokens_length, targets_length


def random_parts(key, total, parts):
    """Cuts `total` items into `parts` runs, every way being equally likely.

    Args:
        key: threefry key.
        total, parts: Python ints, 1 <= parts <= total.

    Returns:
        int32 [parts], lengths of at least 1 that sum to `total`.
    """
    # Cuts lie between items: draw parts - 1 of the total - 1 places without replacement.
    cuts = random_order(key, total - 1)[: parts - 1]
    return jnp.diff(jnp.sort(cuts) + 1, prepend=0, append=total)


def alternate(kept_M, noise_M, length):
    """A row of runs of kept and hidden tokens in turn, kept first.

    Args:
        kept_M, noise_M: int32 [M], lengths of the runs, together `length`; at the end they may be 0.
        length: Python int.

    Returns:
        hidden bool [R], and int32 [R], the index of the span that a hidden token lies in or a kept one precedes.
    """
    ends = jnp.cumsum(jnp.stack([kept_M, noise_M], axis=1).reshape(-1))
    run_R = jnp.cumsum(jnp.zeros(length, jnp.int32).at[ends].add(1, mode="drop"))
    return run_R % 2 == 1, run_R // 2


@OBJECTIVES.register("span_corruption")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SpanCorruption(MaskRate, SentinelTargets):
    """A fixed number of tokens in a fixed number of spans, at random places; a row always begins with a kept token.

    Rows are just long enough to fill the inputs.
    """

    shortest = 4  # a kept token, a sentinel, the end, and one token more to hide
    mean_span: float = option(3.0, "mean length of a hidden span, in tokens", least=1)

    @property
    def rows(self):
        """Windows."""
        return Windows(length=self._sizes[0], pad=self.pad_id)

    @functools.cached_property
    def _sizes(self):
        """(tokens of a row, targets without a final sentinel)."""
        return lengths(self.length, self.mask_rate, self.mean_span)

    @property
    def noise(self):
        """Hidden tokens of a row."""
        return noise_counts(self._sizes[0], self.mask_rate, self.mean_span)[0]

    @property
    def spans(self):
        """Hidden spans of a row."""
        return noise_counts(self._sizes[0], self.mask_rate, self.mean_span)[1]

    @property
    def targets_needed(self):
        """What is hidden, its sentinels and the end."""
        return self._sizes[1] + self.final_sentinel

    @property
    def joint_length(self):
        """All rows have the same numbers of tokens."""
        return self.inputs_length + self.targets_needed

    def check_fit(self, config, tables, model_config):
        """There must be tokens between the spans, and a sentinel for each."""
        if self.mean_span >= self.length >= self.shortest:
            raise ConfigError(f"objective.mean_span={self.mean_span} must be below data.sequence_length={self.length}")
        super().check_fit(config, tables, model_config)
        kept = self.rows.length - self.noise
        if self.spans > kept:
            raise ConfigError(
                f"objective.mask_rate={self.mask_rate} and objective.mean_span={self.mean_span} ask for {self.spans} "
                f"spans with only {kept} tokens kept between them: lower mask_rate or raise mean_span"
            )
        if len(self.sentinels) < self.spans + self.final_sentinel:
            raise ConfigError(
                f"rows of data.sequence_length={self.length} need {self.spans + self.final_sentinel} sentinels, the "
                f"tokenizer has {len(self.sentinels)}: {TOKENIZER_ADVICE} (or as many as needed), or raise "
                "objective.mean_span"
            )

    def noise_mask(self, key):
        """Draws which tokens are hidden.

        Args:
            key: threefry key.

        Returns:
            hidden bool [R], and int32 [R], the index of the span that a hidden token lies in or a kept one precedes.
        """
        noise_key, kept_key = jax.random.split(key)
        length = self.rows.length
        noise_M = random_parts(noise_key, self.noise, self.spans)
        kept_M = random_parts(kept_key, length - self.noise, self.spans)
        return alternate(kept_M, noise_M, length)

    def pair_row(self, key, row):
        """Replaces spans; all rows have the same numbers of tokens."""
        pair = self.sentinel_pair(row["tokens"], self.noise_mask(key)[0], self.rows.length)
        count = self.noise + self.spans + 1 + self.final_sentinel
        return pair._replace(inputs_count=self.inputs_length, targets_count=count)
