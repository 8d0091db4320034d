"""UL2's mixture of denoisers: short spans, long or many spans, a prefix to continue (Tay et al. 2022, section 3.1)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from cloze.data.rows import Windows
from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.draws import random_order
from cloze.objectives.sentinels import TOKENIZER_ADVICE, SentinelTargets
from cloze.objectives.span_corruption import alternate, noise_counts
from cloze.objectives.text_to_text import Pair, split_row
from cloze.options import Name, option

MODES = ("R", "S", "X")
PUBLISHED = (
    ("R", 3.0, 0.15), ("R", 8.0, 0.15), ("S", 0.0, 0.25), ("X", 3.0, 0.5), ("X", 8.0, 0.5), ("X", 64.0, 0.15),
    ("X", 64.0, 0.5),
)  # fmt: skip


def counts(length, denoisers):
    """How many tokens each denoiser hides in a row of `length` tokens, and in how many spans.

    Args:
        length: tokens of the row, at least 2.
        denoisers: (mode, mean span, share hidden), ...; see `UL2`.

    Returns:
        [(tokens, spans)], Python ints; 0 spans in mode S, which has no sentinels.
    """
    hidden = []
    for mode, mean_span, share in denoisers:
        noise, spans = noise_counts(length, share, length if mode == "S" else mean_span)
        hidden.append((noise, 0 if mode == "S" else spans))
    return hidden


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
    order = random_order(key, longest - 1, places < total - 1)
    cuts = jnp.zeros(longest, jnp.int32).at[order + 1].set((places < parts - 1).astype(jnp.int32))
    items = (jnp.arange(longest) < total).astype(jnp.int32)
    return jnp.zeros(most, jnp.int32).at[jnp.cumsum(cuts)].add(items, mode="drop")


@OBJECTIVES.register("ul2")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class UL2(SentinelTargets):
    """Each row is hidden in one of several ways, drawn anew each time, and begins with a token that says which kind.

    All ways but S are span corruption: a row begins kept and ends hidden, and where a mean span is longer than what
    is hidden, that is one span. In mode S the end of a row is hidden, without a sentinel. The paper's mode tokens
    [NLU], [S2S] and [NLG], of R, S and X, are the last three sentinels of the tokenizer. One buffer serves all ways,
    so that most rows are padded.
    """

    shortest = 6
    denoisers: tuple[tuple[Name, float, float], ...] = option(
        PUBLISHED,
        "ways of hiding, one of which is drawn for each row: (mode, mean span, share hidden); in mode S the end of the "
        "row is hidden, in one piece whatever the mean",
        least=0,
    )

    def __post_init__(self):
        super().__post_init__()
        _check_denoisers(self.denoisers)

    @functools.cached_property
    def hidden(self):
        """[(tokens, spans)] that each denoiser hides; 0 spans in mode S."""
        return counts(self.rows.length, self.denoisers)

    @property
    def modes(self):
        """int32 [D], mode tokens by denoiser."""
        tokens = dict(zip(MODES, self.sentinels[-len(MODES) :], strict=True))
        return np.array([tokens[mode] for mode, _, _ in self.denoisers], np.int32)

    @functools.cached_property
    def rows(self):
        """Windows that are as long as every denoiser can put into the inputs."""
        return Windows(length=row_length(self.length, self.denoisers), pad=self.pad_id)

    @property
    def _targets(self):
        return [noise + spans + 1 + (self.final_sentinel and spans > 0) for noise, spans in self.hidden]

    @property
    def targets_needed(self):
        """The most that any denoiser needs."""
        return max(self._targets)

    @property
    def joint_length(self):
        """The same of inputs and targets together."""
        length = self.rows.length
        both = zip(self.hidden, self._targets, strict=True)
        return max(length - noise + spans + 2 + targets for (noise, spans), targets in both)

    def check_fit(self, config, tables, model_config):
        """There must be tokens between the spans, and a sentinel for each span and each mode."""
        super().check_fit(config, tables, model_config)
        for (mode, mean_span, share), (noise, spans) in zip(self.denoisers, self.hidden, strict=True):
            if spans > self.rows.length - noise:
                raise ConfigError(
                    f"objective.denoisers: {mode} with a mean span of {mean_span} and a share of {share} asks for "
                    f"{spans} spans with only {self.rows.length - noise} tokens kept between them: lower the share or "
                    "raise the mean"
                )
        needed = max(spans for _, spans in self.hidden) + self.final_sentinel
        if len(self.sentinels) < needed + len(MODES):
            raise ConfigError(
                f"rows of data.sequence_length={self.length} need {needed} sentinels and three more for the modes, the "
                f"tokenizer has {len(self.sentinels)}: {TOKENIZER_ADVICE} (or as many as needed), or lower "
                "data.sequence_length"
            )

    def noise_mask(self, key, noise, spans):
        """bool [R], which tokens are hidden: `noise` tokens in `spans` spans, a row begins kept and ends hidden."""
        noise_key, kept_key = jax.random.split(key)
        length, most = self.rows.length, max(1, *(spans for _, spans in self.hidden))
        noise_M = random_lengths(noise_key, noise, spans, length, most)
        kept_M = random_lengths(kept_key, length - noise, spans, length, most)
        return alternate(kept_M, noise_M, length)[0]

    def pair_row(self, key, row):
        """Draws a denoiser and hides what it asks for."""
        which_key, mask_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(self.denoisers))
        (noise, spans), mode = jnp.asarray(self.hidden)[which], jnp.asarray(self.modes)[which]
        tokens_R, length = row["tokens"], self.rows.length
        corrupted = self.sentinel_pair(
            tokens_R,
            self.noise_mask(mask_key, noise, jnp.maximum(spans, 1)),
            length,
            sentinels=self.sentinels[: -len(MODES)],
            inputs_length=self.inputs_length - 1,
        )
        sizes = (self.inputs_length - 1, self.targets_length)
        continued = split_row(tokens_R, length, length - noise, self.eos_id, self.pad_id, *sizes)
        pair = Pair(*(jnp.where(spans > 0, *both) for both in zip(corrupted, continued, strict=True)))
        inputs = jnp.concatenate([mode.astype(tokens_R.dtype)[None], pair.inputs])
        return pair._replace(inputs=inputs, inputs_count=pair.inputs_count + 1)


def _check_denoisers(denoisers):
    if not denoisers:
        raise ConfigError("objective.denoisers is empty: give (mode, mean span, share hidden) at least once")
    for entry in denoisers:
        mode, mean_span, share = entry
        if mode not in MODES:
            raise ConfigError(
                f"objective.denoisers: {entry!r} is not (mode, mean span, share hidden), the mode being one of "
                f"{', '.join(MODES)}"
            )
        if not 0 < share < 1:
            raise ConfigError(f"objective.denoisers: the share of {entry!r} must be more than 0 and less than 1")
        if mode != "S" and not mean_span >= 1:
            raise ConfigError(f"objective.denoisers: the mean span of {entry!r} must be at least 1")
