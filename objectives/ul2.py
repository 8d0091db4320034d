"""UL2's mixture of denoisers: short spans, long or many spans, a prefix to continue (Tay et al. 2022, section 3.1)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.data.rows import Windows
from cloze.errors import ConfigError
from cloze.objectives.base import check_length, check_packing, check_share, check_special_tokens
from cloze.objectives.sentinels import TOKENIZER_ADVICE, sentinel_pair
from cloze.objectives.span_corruption import alternate, noise_counts
from cloze.objectives.text_to_text import Pair, TextToText, layout, room_for_targets, split_row

MODES = ("R", "S", "X")


def counts(length, denoisers):
    """How many tokens each denoiser hides in a row of `length` tokens, and in how many spans.

    Args:
        length: tokens of the row, at least 2.
        denoisers: (mode, mean span, share hidden), ...; see `configs.base`.

    Returns:
        [(tokens, spans)], Python ints; 0 spans in mode S, which has no sentinels.
    """
    found = []
    for mode, mean_span, share in denoisers:
        noise, spans = noise_counts(length, share, length if mode == "S" else mean_span)
        found.append((noise, 0 if mode == "S" else spans))
    return found


def row_length(inputs_length, denoisers):
    """The most tokens that a row may have so that the inputs of every denoiser fit: with a mode token and the end."""
    length = 2
    while all(length + 1 - noise + spans + 2 <= inputs_length for noise, spans in counts(length + 1, denoisers)):
        length += 1
    return length


def random_lengths(key, total, parts, longest, most):
    """Cuts `total` items into `parts` runs, every way being equally likely; as `span_corruption.random_parts`, but for
    numbers that are only known on the device.

    Args:
        key: threefry key.
        total, parts: int32 scalars, 1 <= parts <= total.
        longest, most: Python ints, bounds of the two.

    Returns:
        int32 [most], lengths of at least 1 in the first `parts` places, then 0.
    """
    # Cuts lie between items: draw parts - 1 of the total - 1 places without replacement.
    places = jnp.arange(longest - 1)
    scores = jnp.where(places < total - 1, jax.random.uniform(key, (longest - 1,)), 1.0)  # draws lie below 1
    cuts = jnp.zeros(longest, jnp.int32).at[jnp.argsort(scores) + 1].set((places < parts - 1).astype(jnp.int32))
    items = (jnp.arange(longest) < total).astype(jnp.int32)
    return jnp.zeros(most, jnp.int32).at[jnp.cumsum(cuts)].add(items, mode="drop")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class UL2(TextToText):
    """Each row is hidden in one of several ways, drawn anew each time, and begins with a token that says which kind.

    All ways but S are span corruption: a row begins kept and ends hidden, and where a mean span is longer than what
    is hidden, that is one span. In mode S the end of a row is hidden, without a sentinel. The paper's mode tokens
    [NLU], [S2S] and [NLG], of R, S and X, are the last three sentinels of the tokenizer. One buffer serves all ways,
    so that most rows are padded.

    Attributes:
        noise, spans: int32 [D], hidden tokens and spans of a row by denoiser; 0 spans in mode S.
        modes: int32 [D], mode tokens.
        eos: id that ends inputs and targets.
        sentinels: int32 [at least the most spans], ids in order of appearance, without the mode tokens.
        final_sentinel: one more sentinel closes the targets, save in mode S.
    """

    noise: Any
    spans: Any
    modes: Any
    eos: int
    sentinels: Any
    final_sentinel: bool

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows that are as long as every denoiser can put into data.sequence_length inputs."""
        objective, inputs_length = config.objective, config.data.sequence_length
        _check_denoisers(objective.denoisers)
        check_length(config, 6)
        check_special_tokens(config, tables, ("eos", "pad"), TOKENIZER_ADVICE)
        check_packing(config, ("windows",))
        length = row_length(inputs_length, objective.denoisers)
        hidden = counts(length, objective.denoisers)
        for (mode, mean_span, share), (noise, spans) in zip(objective.denoisers, hidden, strict=True):
            if spans > length - noise:
                raise ConfigError(
                    f"objective.denoisers: {mode} with a mean span of {mean_span} and a share of {share} asks for "
                    f"{spans} spans with only {length - noise} tokens kept between them: lower the share or raise the "
                    "mean"
                )
        final, most = objective.final_sentinel, max(spans for _, spans in hidden)
        if len(tables.sentinels) < most + final + len(MODES):
            raise ConfigError(
                f"rows of data.sequence_length={inputs_length} need {most + final} sentinels and three more for the "
                f"modes, the tokenizer has {len(tables.sentinels)}: {TOKENIZER_ADVICE} (or as many as needed), or "
                "lower data.sequence_length"
            )
        needed = [noise + spans + 1 + (final and spans > 0) for noise, spans in hidden]
        joint = [
            length - noise + spans + 2 + targets for (noise, spans), targets in zip(hidden, needed, strict=True)
        ]  # fmt: skip
        mode_tokens = dict(zip(MODES, tables.sentinels[-len(MODES) :], strict=True))
        return cls(
            rows=Windows(length=length, pad=tables.pad),
            noise=np.array([noise for noise, _ in hidden], np.int32),
            spans=np.array([spans for _, spans in hidden], np.int32),
            modes=np.array([mode_tokens[mode] for mode, _, _ in objective.denoisers], np.int32),
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels[: -len(MODES)], np.int32),
            final_sentinel=final,
            **layout(
                config,
                tables,
                model_config,
                inputs_length=inputs_length,
                targets_length=room_for_targets(config, max(needed)),
                joint_length=max(joint),
            ),
        )

    def noise_mask(self, key, noise, spans):
        """bool [R], which tokens are hidden: `noise` tokens in `spans` spans, a row begins kept and ends hidden."""
        noise_key, kept_key = jax.random.split(key)
        length, most = self.rows.length, max(1, int(self.spans.max()))
        noise_M = random_lengths(noise_key, noise, spans, length, most)
        kept_M = random_lengths(kept_key, length - noise, spans, length, most)
        return alternate(kept_M, noise_M, length)[0]

    def pair_row(self, key, row):
        """Draws a denoiser and hides what it asks for."""
        which_key, mask_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(self.noise))
        noise, spans, mode = (jnp.asarray(table)[which] for table in (self.noise, self.spans, self.modes))
        tokens_R, length = row["tokens"], self.rows.length
        corrupted = sentinel_pair(
            tokens_R,
            self.noise_mask(mask_key, noise, jnp.maximum(spans, 1)),
            length,
            sentinels=self.sentinels,
            eos=self.eos,
            pad=self.rows.pad,
            final_sentinel=self.final_sentinel,
            inputs_length=self.inputs_length - 1,
            targets_length=self.targets_length,
        )
        sizes = (self.inputs_length - 1, self.targets_length)
        continued = split_row(tokens_R, length, length - noise, self.eos, self.rows.pad, *sizes)
        pair = Pair(*(jnp.where(spans > 0, *both) for both in zip(corrupted, continued, strict=True)))
        inputs = jnp.concatenate([mode.astype(tokens_R.dtype)[None], pair.inputs])
        return pair._replace(inputs=inputs, inputs_count=pair.inputs_count + 1)


def _check_denoisers(denoisers):
    if not denoisers:
        raise ConfigError("objective.denoisers is empty: give (mode, mean span, share hidden) at least once")
    for entry in denoisers:
        if not isinstance(entry, tuple) or len(entry) != 3 or entry[0] not in MODES:
            raise ConfigError(
                f"objective.denoisers: {entry!r} is not (mode, mean span, share hidden), the mode being one of "
                f"{', '.join(MODES)}"
            )
        mode, mean_span, share = entry
        if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in (mean_span, share)):
            raise ConfigError(f"objective.denoisers: the mean span and the share of {entry!r} must be numbers")
        check_share(f"objective.denoisers: the share of {entry!r}", share)
        if mode != "S" and not mean_span >= 1:
            raise ConfigError(f"objective.denoisers: the mean span of {entry!r} must be at least 1")
