"""BART's denoising: a text is noised in up to five ways, and read back whole (Lewis et al. 2020, section 2.2)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives import bart_noise
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.masking import SENTENCE_END, marked
from cloze.objectives.text_to_text import Pair, TextToText, text_length
from cloze.options import option

NOISES = ("permute_sentences", "infill_rate", "token_mask_rate", "delete_rate", "rotate_share")


@OBJECTIVES.register("bart")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Bart(TextToText):
    """Noises in the order of the reference: sentences change places, words are hidden in spans, tokens are masked,
    tokens are deleted, the row is rotated. Each has its own rate, and 0 leaves it out.

    A row is framed by the first and the last special token, which no noise touches; nor is any special token between
    them hidden or deleted. A share of n things is the next whole number of them. See `objectives.bart_noise`.

    Attributes:
        mask_id: id of the mask.
        special: bool [V], ids that are not text; None: all are.
        starts_word: bool [V], ids that begin a word; None: all do.
        bos_id, cls_id: the first of them that is not None begins a row; eos_id ends it.
    """

    packings = ("windows", "sentences")
    special_tokens = ("mask", "eos", "pad")
    advice = "use tokenizer.kind=byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"
    shortest = 3  # a token in its frame
    permute_sentences: float = option(1.0, "share of a row's sentences that change places", least=0, most=1)
    infill_rate: float = option(
        0.3, "share of a row's words that is hidden in spans, each of which becomes one mask", least=0, below=1
    )
    mean_span: float = option(3.0, "mean length of such a span, in words", least=1)
    token_mask_rate: float = option(
        0.0, "share of a row's tokens that is replaced by the mask, one for one", least=0, below=1
    )
    delete_rate: float = option(0.0, "share of a row's tokens that is deleted", least=0, below=1)
    rotate_share: float = option(
        0.0, "share of rows that begin at a random token, what was before it coming last", least=0, most=1
    )
    mask_id: int
    special: Any = None
    starts_word: Any = None
    bos_id: int | None = None
    cls_id: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if not any(getattr(self, noise) for noise in NOISES):
            raise ConfigError(
                f"objective.name=bart has nothing to undo: set one of objective.{', '.join(NOISES)} above 0 "
                "(published: 1.0 and 0.3 for the first two)"
            )

    @property
    def _begin(self):
        return self.cls_id if self.bos_id is None else self.bos_id

    @property
    def rows(self):
        """Rows with flags, of data.sequence_length tokens with their frame."""
        flags = self.permute_sentences > 0
        return self.packed(length=self.length, start=(self._begin,), end=(self.eos_id,), flags=flags)

    @property
    def decoder_start(self):
        """The end of a text."""
        return self.eos_id

    @property
    def targets_needed(self):
        """The whole row."""
        return self.length

    def check_fit(self, config, tables, model_config):
        """Spans must be shorter than rows, and rows must begin with a token."""
        super().check_fit(config, tables, model_config)
        if self.mean_span >= self.length:
            raise ConfigError(f"objective.mean_span={self.mean_span} must be below data.sequence_length={self.length}")
        if self._begin is None:
            raise ConfigError(f"objective.name=bart needs a special token that begins a row, bos or cls: {self.advice}")

    def pair_row(self, key, row):
        """Noises one row; its targets are the row as it was."""
        keys = jax.random.split(key, 5)
        tokens_R, length = row["tokens"], text_length(row)
        count, size = length, tokens_R.shape[0]
        if self.permute_sentences:
            ends_R, shares = row["flags"] & SENTENCE_END > 0, bart_noise.shares(size, self.permute_sentences)
            tokens_R = bart_noise.permute_sentences(keys[0], tokens_R, ends_R, length, shares)
        if self.infill_rate:
            tokens_R, count = self._infill(keys[1], tokens_R, count)
        if self.token_mask_rate:
            chosen_R = self._draw(keys[2], tokens_R, count, self.token_mask_rate)
            tokens_R = jnp.where(chosen_R, self.mask_id, tokens_R)
        if self.delete_rate:
            chosen_R = self._draw(keys[3], tokens_R, count, self.delete_rate)
            tokens_R, count = bart_noise.keep(tokens_R, ~chosen_R, count)
        if self.rotate_share:
            tokens_R = bart_noise.rotate(keys[4], tokens_R, count, self.rotate_share)
        real_R = jnp.arange(self.inputs_length) < count
        inputs = jnp.where(real_R, tokens_R, self.pad_id)
        padding = jnp.full(self.targets_length - self.inputs_length, self.pad_id, inputs.dtype)
        targets = jnp.concatenate([row["tokens"], padding])
        targets = jnp.where(jnp.arange(self.targets_length) < length, targets, self.pad_id)
        return Pair(inputs, count, targets, length)

    def _text(self, tokens_R, count):
        """bool [R], tokens that may be hidden."""
        return bart_noise.inside(tokens_R.shape[0], count) & ~marked(self.special, tokens_R, False)

    def _draw(self, key, tokens_R, count, rate):
        """bool [R], a share of the tokens that may be hidden."""
        text_R = self._text(tokens_R, count)
        table = bart_noise.shares(tokens_R.shape[0], rate)
        return bart_noise.draw(key, text_R, jnp.asarray(table)[jnp.sum(text_R)])

    def _infill(self, key, tokens_R, count):
        text_R = self._text(tokens_R, count)
        word_R = text_R & marked(self.starts_word, tokens_R, True)
        table = bart_noise.shares(tokens_R.shape[0], self.infill_rate)
        budget, most = jnp.asarray(table)[jnp.sum(word_R)], int(table[-1])
        spans = bart_noise.poisson_shares(self.mean_span)
        return bart_noise.infill(
            key, tokens_R, count, text_R, word_R, budget, most=most, span_shares=spans, mask=self.mask_id
        )
