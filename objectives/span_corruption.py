"""T5's span corruption: spans are replaced by sentinels and spelled out in the targets (Raffel et al. 2020, 3.1.4)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from errors import ConfigError
from objectives.base import (
    Objective,
    Rows,
    check_length,
    check_loss_options,
    check_packing,
    check_positions,
    check_share,
    check_special_tokens,
)
from objectives.losses import token_terms


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


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SpanCorruption(Objective):
    """A fixed number of tokens in a fixed number of spans, at random places; a row always begins with a kept token.

    Attributes:
        inputs_length, targets_length: tokens of the encoder and of the decoder.
        noise, spans: hidden tokens and spans of a row.
        eos: id that ends inputs and targets.
        sentinels: int32 [at least spans], ids in order of appearance.
        final_sentinel: one more sentinel closes the targets.
        label_smoothing, z_loss: see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder_decoder",)
    inputs_length: int
    targets_length: int
    noise: int
    spans: int
    eos: int
    sentinels: Any
    final_sentinel: bool
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows that are just long enough to fill the encoder."""
        objective, inputs_length = config.objective, config.data.sequence_length
        check_loss_options(config)
        _check_spans(config)
        advice = "use tokenizer.kind=unigram and tokenizer.sentinels=100"
        check_special_tokens(config, tables, ("eos", "pad"), advice)
        tokens_length, needed = lengths(inputs_length, objective.mask_rate, objective.mean_span)
        noise, spans = noise_counts(tokens_length, objective.mask_rate, objective.mean_span)
        needed += objective.final_sentinel
        if spans > tokens_length - noise:
            raise ConfigError(
                f"objective.mask_rate={objective.mask_rate} and objective.mean_span={objective.mean_span} ask for "
                f"{spans} spans with only {tokens_length - noise} tokens kept between them: lower mask_rate or raise "
                "mean_span"
            )
        if len(tables.sentinels) < spans + objective.final_sentinel:
            raise ConfigError(
                f"rows of data.sequence_length={inputs_length} need {spans + objective.final_sentinel} sentinels, the "
                f"tokenizer has {len(tables.sentinels)}: {advice} (or as many as needed), or raise objective.mean_span"
            )
        targets_length = needed if config.data.target_length is None else config.data.target_length
        if targets_length < needed:
            raise ConfigError(
                f"data.target_length={targets_length} is too short: rows of data.sequence_length={inputs_length} make "
                f"targets of {needed} tokens; leave data.target_length unset or set it to {needed} or more"
            )
        check_packing(config, ("windows",))
        check_positions(model_config, inputs_length, "data.sequence_length")
        check_positions(model_config, targets_length, "data.target_length")
        return cls(
            rows=Rows("windows", tokens_length, pad=tables.pad),
            outputs=("lm",),
            inputs_length=inputs_length,
            targets_length=targets_length,
            noise=noise,
            spans=spans,
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels, np.int32),
            final_sentinel=objective.final_sentinel,
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
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
        # Runs alternate, kept first, so that odd runs are hidden.
        ends = jnp.cumsum(jnp.stack([kept_M, noise_M], axis=1).reshape(-1))
        run_R = jnp.cumsum(jnp.zeros(length, jnp.int32).at[ends[:-1]].add(1))
        return run_R % 2 == 1, run_R // 2

    def corrupt_row(self, key, row):
        """Replaces spans: `tokens` [T], `decoder_tokens`, `targets` and `target_weights` of the decoder's length."""
        tokens_R = row["tokens"]
        hidden_R, span_R = self.noise_mask(key)
        first_R = hidden_R & ~jnp.roll(hidden_R, 1)  # a row ends hidden and begins kept, so rolling is no harm
        sentinels = jnp.asarray(self.sentinels, tokens_R.dtype)
        sentinel_R = sentinels[span_R]
        hidden_so_far_R = jnp.cumsum(hidden_R)
        kept_so_far_R = jnp.arange(1, tokens_R.shape[0] + 1) - hidden_so_far_R

        # Inputs: each kept token, and the sentinel in the place of each span's first token.
        inputs_T = jnp.full(self.inputs_length, self.eos, tokens_R.dtype)
        place_R = jnp.where(hidden_R, kept_so_far_R + span_R, kept_so_far_R - 1 + span_R)
        inputs_T = inputs_T.at[jnp.where(hidden_R & ~first_R, self.inputs_length, place_R)].set(
            jnp.where(hidden_R, sentinel_R, tokens_R), mode="drop"
        )
        # Targets: each span after its sentinel.
        length = self.noise + self.spans + 1 + self.final_sentinel
        targets = jnp.full(self.targets_length, self.rows.pad, tokens_R.dtype)
        place_R = hidden_so_far_R + span_R
        targets = targets.at[jnp.where(hidden_R, place_R, self.targets_length)].set(tokens_R, mode="drop")
        targets = targets.at[jnp.where(first_R, place_R - 1, self.targets_length)].set(sentinel_R, mode="drop")
        if self.final_sentinel:
            targets = targets.at[length - 2].set(sentinels[self.spans])
        targets = targets.at[length - 1].set(self.eos)
        return {
            "tokens": inputs_T,
            # T5 starts its decoder with the padding token.
            "decoder_tokens": jnp.roll(targets, 1).at[0].set(self.rows.pad),
            "targets": targets,
            "target_weights": (jnp.arange(self.targets_length) < length).astype(jnp.float32),
        }

    def loss(self, outputs, batch):
        """Terms "loss" (nats a target token) and "accuracy"."""
        return token_terms(outputs, batch, label_smoothing=self.label_smoothing, z_loss=self.z_loss)


def _check_spans(config):
    objective, length = config.objective, config.data.sequence_length
    check_share("objective.mask_rate", objective.mask_rate)
    check_length(config, 4)  # a kept token, a sentinel, the end, and one token more to hide
    if not 1 <= objective.mean_span < length:
        raise ConfigError(
            f"objective.mean_span={objective.mean_span} must be at least 1 and below data.sequence_length={length}"
        )
