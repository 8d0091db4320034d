"""BART's denoising: a text is noised in up to five ways, and read back whole (Lewis et al. 2020, section 2.2)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.objectives import bart_noise
from cloze.objectives.base import check_length, check_packing, check_share, check_special_tokens
from cloze.objectives.masking import SENTENCE_END
from cloze.objectives.text_to_text import Pair, TextToText, layout, room_for_targets, text_length

ADVICE = "use tokenizer.kind=byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"


class Counts(NamedTuple):
    """How many sentences, words or tokens each noise takes, by how many there are: int32 [R + 1], None where off."""

    permute: Any
    infill: Any
    mask: Any
    delete: Any


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Bart(TextToText):
    """Noises in the order of the reference: sentences change places, words are hidden in spans, tokens are masked,
    tokens are deleted, the row is rotated. Each has its own rate, and 0 leaves it out.

    A row is framed by the first and the last special token, which no noise touches; nor is any special token between
    them hidden or deleted. A share of n things is the next whole number of them. See `objectives.bart_noise`.

    Attributes:
        counts: Counts.
        rotate_share: share of rows that are rotated.
        span_shares: f32 [n], distribution function of the length of a span in words.
        mask: id of the mask.
        special, starts_word: bool [V], ids that are not text, and ids that begin a word.
        start, end: ids around a row.
    """

    counts: Counts
    rotate_share: float
    span_shares: Any
    mask: int
    special: Any
    starts_word: Any
    start: int
    end: int

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows, or rows of sentences, with flags, of data.sequence_length tokens with their frame."""
        objective, length = config.objective, config.data.sequence_length
        check_share("objective.permute_sentences", objective.permute_sentences, zero=True, one=True)
        check_share("objective.infill_rate", objective.infill_rate, zero=True)
        check_share("objective.token_mask_rate", objective.token_mask_rate, zero=True)
        check_share("objective.delete_rate", objective.delete_rate, zero=True)
        check_share("objective.rotate_share", objective.rotate_share, zero=True, one=True)
        rates = dict(
            permute=objective.permute_sentences,
            infill=objective.infill_rate,
            mask=objective.token_mask_rate,
            delete=objective.delete_rate,
        )
        if not any(rates.values()) and not objective.rotate_share:
            raise ConfigError(
                "objective.name=bart has nothing to undo: set one of objective.permute_sentences, infill_rate, "
                "token_mask_rate, delete_rate and rotate_share above 0 (published: 1.0 and 0.3 for the first two)"
            )
        check_length(config, 3)  # a token in its frame
        if not 1 <= objective.mean_span < length:
            raise ConfigError(
                f"objective.mean_span={objective.mean_span} must be at least 1 and below data.sequence_length={length}"
            )
        check_special_tokens(config, tables, ("mask", "eos", "pad"), ADVICE)
        start = tables.cls if tables.bos is None else tables.bos
        if start is None:
            raise ConfigError(f"objective.name=bart needs a special token that begins a row, bos or cls: {ADVICE}")
        flags = objective.permute_sentences > 0
        packing = check_packing(config, ("windows", "sentences"))
        return cls(
            rows=packing(length=length, start=(start,), end=(tables.eos,), pad=tables.pad, flags=flags),
            counts=Counts(**{name: bart_noise.shares(length, rate) if rate else None for name, rate in rates.items()}),
            rotate_share=objective.rotate_share,
            span_shares=bart_noise.poisson_shares(objective.mean_span),
            mask=tables.mask,
            special=np.asarray(tables.special, bool),
            starts_word=np.asarray(tables.starts_word, bool),
            start=start,
            end=tables.eos,
            **layout(
                config,
                tables,
                model_config,
                inputs_length=length,
                targets_length=room_for_targets(config, length),
                decoder_start=tables.eos,
            ),
        )

    def pair_row(self, key, row):
        """Noises one row; its targets are the row as it was."""
        keys = jax.random.split(key, 5)
        tokens_R, length = row["tokens"], text_length(row)
        count, counts = length, self.counts
        if counts.permute is not None:
            ends_R = row["flags"] & SENTENCE_END > 0
            tokens_R = bart_noise.permute_sentences(keys[0], tokens_R, ends_R, length, counts.permute)
        if counts.infill is not None:
            tokens_R, count = self._infill(keys[1], tokens_R, count)
        if counts.mask is not None:
            chosen_R = self._draw(keys[2], tokens_R, count, counts.mask)
            tokens_R = jnp.where(chosen_R, self.mask, tokens_R)
        if counts.delete is not None:
            chosen_R = self._draw(keys[3], tokens_R, count, counts.delete)
            tokens_R, count = bart_noise.keep(tokens_R, ~chosen_R, count)
        if self.rotate_share:
            tokens_R = bart_noise.rotate(keys[4], tokens_R, count, self.rotate_share)
        real_R = jnp.arange(self.inputs_length) < count
        inputs = jnp.where(real_R, tokens_R, self.rows.pad)
        padding = jnp.full(self.targets_length - self.inputs_length, self.rows.pad, inputs.dtype)
        targets = jnp.concatenate([row["tokens"], padding])
        targets = jnp.where(jnp.arange(self.targets_length) < length, targets, self.rows.pad)
        return Pair(inputs, count, targets, length)

    def _text(self, tokens_R, count):
        """bool [R], tokens that may be hidden."""
        return bart_noise.inside(tokens_R.shape[0], count) & ~jnp.asarray(self.special)[tokens_R]

    def _draw(self, key, tokens_R, count, table):
        """bool [R], a share of the tokens that may be hidden."""
        text_R = self._text(tokens_R, count)
        return bart_noise.draw(key, text_R, jnp.asarray(table)[jnp.sum(text_R)])

    def _infill(self, key, tokens_R, count):
        text_R = self._text(tokens_R, count)
        word_R = text_R & jnp.asarray(self.starts_word)[tokens_R]
        budget = jnp.asarray(self.counts.infill)[jnp.sum(word_R)]
        most = int(self.counts.infill[-1])
        return bart_noise.infill(
            key, tokens_R, count, text_R, word_R, budget, most=most, span_shares=self.span_shares, mask=self.mask
        )
