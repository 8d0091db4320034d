"""Denoising token by token, as T5's study compared it (Raffel et al. 2020, sections 3.1.4, 3.3.1 and 3.3.2)."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives.base import (
    check_length,
    check_packing,
    check_replacements,
    check_share,
    check_special_tokens,
)
from cloze.objectives.sentinels import TOKENIZER_ADVICE, fitting, sentinel_pair
from cloze.objectives.text_to_text import Pair, TextToText, compact, cut, layout, room_for_targets, text_length

NOISES = ("iid_spans", "bert_style", "mass", "drop_tokens", "deshuffle")
DEVIATIONS = 3.5  # above the mean: 192 targets for 512 inputs at a rate of 0.15, as the study has it


def expected_targets(length, rate, noise):
    """Mean and standard deviation of the number of targets, the end left out, where each token is hidden on its own.

    Args:
        length: tokens of the text, at least 1.
        rate: chance of each to be hidden.
        noise: "iid_spans", whose targets are the hidden tokens and a sentinel a run, or "drop_tokens".

    Returns:
        (mean, deviation), floats.
    """
    kept = 1 - rate
    if noise == "drop_tokens":
        return length * rate, math.sqrt(length * rate * kept)
    # Let x be 1 where a token is hidden. Each adds y = x + x * (1 - x before), and only neighbours covary.
    mean = length * rate + rate + (length - 1) * rate * kept
    variance = 4 * rate - 3 * rate**2 - (2 * rate - rate**2) ** 2
    covariance = -(rate**2) * (2 - rate) * kept
    return mean, math.sqrt(max(0.0, length * variance + 2 * (length - 1) * covariance))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Denoising(TextToText):
    """Tokens are hidden one by one, each with the same chance; `objective.noise` says what that means.

    iid_spans: each run of them becomes a sentinel, and the targets are each run after its sentinel (the study's
    baseline). The reference begins a row that is hidden from its first token without a sentinel, and ends one whose
    last token is kept with one more; here every run has one. drop_tokens: they are left out and are the targets.
    bert_style: each becomes the first sentinel or another token, or stays, and the targets are the whole text. mass:
    each becomes the first sentinel. deshuffle: all tokens change places, whatever the rate.

    Targets of the first two vary in length. Their buffer holds 3.5 standard deviations more than the mean unless
    data.target_length says otherwise; tokens for which it, or the tokenizer's sentinels, have no room are kept, the
    last of a row first.

    Attributes:
        noise: one of NOISES.
        rate: chance of a token to be hidden.
        mask_token_share, random_token_share: of the hidden; the rest keeps its token (bert_style).
        vocab_size: ids that a random replacement is drawn from.
        special: bool [V], ids that are never hidden.
        eos: id that ends inputs and targets.
        sentinels: int32 [n], ids in order of appearance.
        final_sentinel: one more sentinel closes the targets (iid_spans).
    """

    noise: str
    rate: float
    mask_token_share: float
    random_token_share: float
    vocab_size: int
    special: Any
    eos: int
    sentinels: Any
    final_sentinel: bool

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows, or rows of sentences, of one token less than data.sequence_length: the end is put after it."""
        objective, length = config.objective, config.data.sequence_length - 1
        if objective.noise not in NOISES:
            raise ConfigError(f"objective.noise={objective.noise!r} is not one of {', '.join(NOISES)}")
        check_length(config, 2)  # a token and the end
        if objective.noise != "deshuffle":
            check_share("objective.mask_rate", objective.mask_rate)
        check_special_tokens(config, tables, ("eos", "pad"), TOKENIZER_ADVICE)
        _check_replacements(config, tables)
        needed = _targets_length(config, tables, length)
        return cls(
            rows=check_packing(config, ("windows", "sentences"))(length=length, pad=tables.pad),
            noise=objective.noise,
            rate=objective.mask_rate,
            mask_token_share=1.0 if objective.noise == "mass" else objective.mask_token_share,
            random_token_share=0.0 if objective.noise == "mass" else objective.random_token_share,
            vocab_size=tables.vocab_size,
            special=np.asarray(tables.special, bool),
            eos=tables.eos,
            sentinels=np.asarray(tables.sentinels, np.int32),
            final_sentinel=objective.final_sentinel,
            **layout(
                config,
                tables,
                model_config,
                inputs_length=length + 1,
                targets_length=needed,
                # Every token is on one side, and both sides end.
                joint_length=length + 2 if objective.noise == "drop_tokens" else length + 1 + needed,
            ),
        )

    def pair_row(self, key, row):
        """Hides tokens of one row."""
        hidden_key, replacement_key = jax.random.split(key)
        tokens_R, length = row["tokens"], text_length(row)
        text_R = (jnp.arange(tokens_R.shape[0]) < length) & ~jnp.asarray(self.special)[tokens_R]
        hidden_R = text_R & (jax.random.uniform(hidden_key, tokens_R.shape) < self.rate)
        if self.noise == "iid_spans":
            most = len(self.sentinels) - self.final_sentinel
            return sentinel_pair(
                tokens_R,
                fitting(hidden_R, most, self.targets_length - 1 - self.final_sentinel),
                length,
                sentinels=self.sentinels,
                eos=self.eos,
                pad=self.rows.pad,
                final_sentinel=self.final_sentinel,
                inputs_length=self.inputs_length,
                targets_length=self.targets_length,
            )
        if self.noise == "drop_tokens":
            return self._divided(tokens_R, hidden_R & (jnp.cumsum(hidden_R) < self.targets_length), length)
        if self.noise == "deshuffle":
            noisy_R = _shuffled(replacement_key, tokens_R, text_R)
        else:
            noisy_R = jnp.where(hidden_R, self._replacements(replacement_key, tokens_R), tokens_R)
        inputs = cut(noisy_R, 0, length, self.eos, self.rows.pad, self.inputs_length)
        return Pair(*inputs, *cut(tokens_R, 0, length, self.eos, self.rows.pad, self.targets_length))

    def _replacements(self, key, tokens_R):
        """What stands for each token if it is hidden."""
        choice_key, token_key = jax.random.split(key)
        choice_R = jax.random.uniform(choice_key, tokens_R.shape)
        random_R = jax.random.randint(token_key, tokens_R.shape, 0, self.vocab_size, tokens_R.dtype)
        kept_R = jnp.where(choice_R < self.mask_token_share + self.random_token_share, random_R, tokens_R)
        return jnp.where(choice_R < self.mask_token_share, jnp.asarray(self.sentinels[0], tokens_R.dtype), kept_R)

    def _divided(self, tokens_R, hidden_R, length):
        """The pair of the kept and the hidden tokens, in their order."""
        real_R = jnp.arange(tokens_R.shape[0]) < length

        def part(chosen_R, size):
            tokens, count = compact(tokens_R, chosen_R, self.rows.pad, size)
            return tokens.at[count].set(self.eos, mode="drop"), count + 1

        return Pair(*part(real_R & ~hidden_R, self.inputs_length), *part(hidden_R, self.targets_length))


def _shuffled(key, tokens_R, text_R):
    """The tokens of a text in random order; all others keep their places."""
    scores_R = jnp.where(text_R, jax.random.uniform(key, tokens_R.shape), 1.0)  # draws lie below 1
    return jnp.where(text_R, tokens_R[jnp.argsort(scores_R)][jnp.cumsum(text_R) - 1], tokens_R)


def _check_replacements(config, tables):
    objective = config.objective
    if objective.noise in ("iid_spans", "bert_style", "mass") and len(tables.sentinels) < 1 + (
        objective.noise == "iid_spans" and objective.final_sentinel
    ):
        raise ConfigError(
            f"objective.noise={objective.noise} needs sentinels, the tokenizer has {len(tables.sentinels)}: "
            f"{TOKENIZER_ADVICE}"
        )
    if objective.noise == "bert_style":
        check_replacements(objective)


def _targets_length(config, tables, length):
    """Tokens of the buffer of targets; see the class."""
    objective, rate = config.objective, config.objective.mask_rate
    if objective.noise not in ("iid_spans", "drop_tokens"):
        return room_for_targets(config, length + 1)
    final = objective.final_sentinel and objective.noise == "iid_spans"
    mean, deviation = expected_targets(length, rate, objective.noise)
    if objective.noise == "iid_spans":
        runs, most = rate + (length - 1) * rate * (1 - rate), len(tables.sentinels) - final
        if runs > most:
            raise ConfigError(
                f"rows of data.sequence_length={length + 1} have {runs:.0f} hidden runs on average, for which the "
                f"tokenizer has {most} sentinels: {TOKENIZER_ADVICE} (or as many as needed), or lower "
                "data.sequence_length"
            )
    if config.data.target_length is not None:
        return room_for_targets(config, math.ceil(mean) + 1 + final)
    return min(math.ceil(mean + DEVIATIONS * deviation), length + (length + 1) // 2) + 1 + final
