"""Denoising token by token, as T5's study compared it (Raffel et al. 2020, sections 3.1.4, 3.3.1 and 3.3.2)."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.draws import random_order
from cloze.objectives.masking import Replacements, marked, replace_tokens
from cloze.objectives.sentinels import TOKENIZER_ADVICE, SentinelTargets
from cloze.objectives.text_to_text import Pair, compact, cut, text_length
from cloze.options import option

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


@OBJECTIVES.register("denoising")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Denoising(Replacements, SentinelTargets):
    """Tokens are hidden one by one, each with the same chance; `noise` says what that means.

    iid_spans: each run of them becomes a sentinel, and the targets are each run after its sentinel (the study's
    baseline). The reference begins a row that is hidden from its first token without a sentinel, and ends one whose
    last token is kept with one more; here every run has one. drop_tokens: they are left out and are the targets.
    bert_style: each becomes the first sentinel or another token, or stays, and the targets are the whole text. mass:
    each becomes the first sentinel. deshuffle: all tokens change places, whatever the rate.

    Targets of the first two vary in length. Their buffer holds 3.5 standard deviations more than the mean unless
    data.target_length says otherwise; tokens for which it, or the tokenizer's sentinels, have no room are kept, the
    last of a row first.

    Attributes:
        vocab_size: ids that a random replacement is drawn from.
        special: bool [V], ids that are never hidden; None: there are none.
    """

    packings = ("windows", "sentences")
    shortest = 2  # a token and the end
    noise: str = option(
        "iid_spans",
        "what happens to hidden tokens: a sentinel for each run of them (iid_spans), a mask or another token "
        "(bert_style) or a mask only (mass) while the targets are the whole text, they vanish (drop_tokens), or all "
        "tokens change places (deshuffle)",
        choices=NOISES,
    )
    vocab_size: int
    special: Any = None

    @property
    def rows(self):
        """Rows of one token less than data.sequence_length: the end is put after it."""
        return self.packed(length=self.length - 1)

    @property
    def _final(self):
        return self.final_sentinel and self.noise == "iid_spans"

    @property
    def fewest_targets(self):
        """As many as there are on average, or the whole text, and the end."""
        if self.noise not in ("iid_spans", "drop_tokens"):
            return self.length
        return math.ceil(expected_targets(self.rows.length, self.mask_rate, self.noise)[0]) + 1 + self._final

    @property
    def targets_needed(self):
        """The whole text, or 3.5 deviations more than there are on average."""
        if self.noise not in ("iid_spans", "drop_tokens"):
            return self.length
        length = self.rows.length
        mean, deviation = expected_targets(length, self.mask_rate, self.noise)
        return min(math.ceil(mean + DEVIATIONS * deviation), length + (length + 1) // 2) + 1 + self._final

    @property
    def joint_length(self):
        """Every token is on one side where tokens are dropped, and both sides end."""
        return self.length + 1 if self.noise == "drop_tokens" else self.length + self.targets_length

    def check_fit(self, config, tables, model_config):
        """There must be sentinels, for what becomes one."""
        super().check_fit(config, tables, model_config)
        if self.noise in ("iid_spans", "bert_style", "mass") and len(self.sentinels) < 1 + self._final:
            raise ConfigError(
                f"objective.noise={self.noise} needs sentinels, the tokenizer has {len(self.sentinels)}: "
                f"{TOKENIZER_ADVICE}"
            )
        rate, most = self.mask_rate, len(self.sentinels) - self._final
        runs = rate + (self.rows.length - 1) * rate * (1 - rate)
        if self.noise == "iid_spans" and runs > most:
            raise ConfigError(
                f"rows of data.sequence_length={self.length} have {runs:.0f} hidden runs on average, for which the "
                f"tokenizer has {most} sentinels: {TOKENIZER_ADVICE} (or as many as needed), or lower "
                "data.sequence_length"
            )

    def pair_row(self, key, row):
        """Hides tokens of one row."""
        hidden_key, replacement_key = jax.random.split(key)
        tokens_R, length = row["tokens"], text_length(row)
        text_R = (jnp.arange(tokens_R.shape[0]) < length) & ~marked(self.special, tokens_R, False)
        hidden_R = text_R & (jax.random.uniform(hidden_key, tokens_R.shape) < self.mask_rate)
        if self.noise == "iid_spans":
            return self.sentinel_pair(tokens_R, self.fitting(hidden_R), length)
        if self.noise == "drop_tokens":
            return self._divided(tokens_R, hidden_R & (jnp.cumsum(hidden_R) < self.targets_length), length)
        if self.noise == "deshuffle":
            noisy_R = _shuffled(replacement_key, tokens_R, text_R)
        else:
            noisy_R = jnp.where(hidden_R, self._replacements(replacement_key, tokens_R), tokens_R)
        inputs = cut(noisy_R, 0, length, self.eos_id, self.pad_id, self.inputs_length)
        return Pair(*inputs, *cut(tokens_R, 0, length, self.eos_id, self.pad_id, self.targets_length))

    def _replacements(self, key, tokens_R):
        """What stands for each token if it is hidden."""
        choice_key, token_key = jax.random.split(key)
        mass = self.noise == "mass"  # a mask and nothing else
        return replace_tokens(
            jax.random.uniform(choice_key, tokens_R.shape),
            jax.random.randint(token_key, tokens_R.shape, 0, self.vocab_size, tokens_R.dtype),
            tokens_R,
            mask=jnp.asarray(self.sentinels[0], tokens_R.dtype),
            mask_share=1.0 if mass else self.mask_token_share,
            random_share=0.0 if mass else self.random_token_share,
        )

    def _divided(self, tokens_R, hidden_R, length):
        """The pair of the kept and the hidden tokens, in their order."""
        real_R = jnp.arange(tokens_R.shape[0]) < length

        def part(chosen_R, size):
            tokens, count = compact(tokens_R, chosen_R, self.pad_id, size)
            return tokens.at[count].set(self.eos_id, mode="drop"), count + 1

        return Pair(*part(real_R & ~hidden_R, self.inputs_length), *part(hidden_R, self.targets_length))


def _shuffled(key, tokens_R, text_R):
    """The tokens of a text in random order; all others keep their places."""
    order_R = random_order(key, tokens_R.shape[0], text_R)
    return jnp.where(text_R, tokens_R[order_R][jnp.cumsum(text_R) - 1], tokens_R)
