"""T5's span corruption: spans are replaced by sentinels and spelled out in the targets (Raffel et al. 2020, 3.1.4)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.data.rows import Windows
from cloze.errors import ConfigError
from cloze.objectives.base import check_length, check_packing, check_share, check_special_tokens
from cloze.objectives.sentinels import TOKENIZER_ADVICE, sentinel_pair
from cloze.objectives.text_to_text import TextToText, layout, room_for_targets


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
    # Cuts lie between items: draw parts - 1 of the total - 1 places without replacement. A sort is cut along rows by
    # the compiler, where top_k would run over the whole batch on every device.
    cuts = jnp.argsort(jax.random.uniform(key, (total - 1,)))[: parts - 1]
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


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SpanCorruption(TextToText):
    """A fixed number of tokens in a fixed number of spans, at random places; a row always begins with a kept token.

    Attributes:
        noise, spans: hidden tokens and spans of a row.
        eos: id that ends inputs and targets.
        sentinels: int32 [at least spans], ids in order of appearance.
        final_sentinel: one more sentinel closes the targets.
    """

    noise: int
    spans: int
    eos: int
    sentinels: Any
    final_sentinel: bool

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows that are just long enough to fill the inputs, data.sequence_length."""
        objective, inputs_length = config.objective, config.data.sequence_length
        _check_spans(config)
        check_special_tokens(config, tables, ("eos", "pad"), TOKENIZER_ADVICE)
        tokens_length, needed = lengths(inputs_length, objective.mask_rate, objective.mean_span)
        noise, spans = noise_counts(tokens_length, objective.mask_rate, objective.mean_span)
        if spans > tokens_length - noise:
            raise ConfigError(
                f"objective.mask_rate={objective.mask_rate} and objective.mean_span={objective.mean_span} ask for "
                f"{spans} spans with only {tokens_length - noise} tokens kept between them: lower mask_rate or raise "
                "mean_span"
            )
        if len(tables.sentinels) < spans + objective.final_sentinel:
            raise ConfigError(
                f"rows of data.sequence_length={inputs_length} need {spans + objective.final_sentinel} sentinels, the "
                f"tokenizer has {len(tables.sentinels)}: {TOKENIZER_ADVICE} (or as many as needed), or raise "
                "objective.mean_span"
            )
        needed += objective.final_sentinel
        check_packing(config, ("windows",))
        targets_length = room_for_targets(config, needed)
        return cls(
            rows=Windows(length=tokens_length, pad=tables.pad),
            noise=noise,
            spans=spans,
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels, np.int32),
            final_sentinel=objective.final_sentinel,
            **layout(
                config,
                tables,
                model_config,
                inputs_length=inputs_length,
                targets_length=targets_length,
                joint_length=inputs_length + needed,
            ),
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
        hidden_R, _ = self.noise_mask(key)
        pair = sentinel_pair(
            row["tokens"],
            hidden_R,
            self.rows.length,
            sentinels=self.sentinels,
            eos=self.eos,
            pad=self.rows.pad,
            final_sentinel=self.final_sentinel,
            inputs_length=self.inputs_length,
            targets_length=self.targets_length,
        )
        count = self.noise + self.spans + 1 + self.final_sentinel
        return pair._replace(inputs_count=self.inputs_length, targets_count=count)


def _check_spans(config):
    objective, length = config.objective, config.data.sequence_length
    check_share("objective.mask_rate", objective.mask_rate)
    check_length(config, 4)  # a kept token, a sentinel, the end, and one token more to hide
    if not 1 <= objective.mean_span < length:
        raise ConfigError(
            f"objective.mean_span={objective.mean_span} must be at least 1 and below data.sequence_length={length}"
        )
