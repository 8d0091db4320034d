"""Text to text: every example is a pair (inputs, targets), for an encoder-decoder or for a decoder alone.

A decoder reads both as one text (Raffel et al. 2020, section 3.2): the last token of the inputs predicts the first of
the targets. With objective.prefix=full the inputs see each other in both directions, a prefix language model; with
causal it is a plain language model.
"""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives.base import Objective
from cloze.objectives.losses import TokenLoss
from cloze.options import option

PREFIXES = ("full", "causal")


class Pair(NamedTuple):
    """One example in buffers of fixed lengths; what follows the counted tokens is padding.

    Attributes:
        inputs: int32 [I].
        inputs_count: tokens of `inputs`, a Python int where rows are always the same, else an int32 scalar.
        targets: int32 [O].
        targets_count: tokens of `targets`, likewise. Without any, the row is not scored.
    """

    inputs: Any
    inputs_count: Any
    targets: Any
    targets_count: Any


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Prefixed(Objective):
    """An objective of which a decoder alone reads inputs and targets as one text."""

    prefix: str = option(
        "full",
        "a decoder's inputs see each other in both directions (full) or backwards only (causal)",
        choices=PREFIXES,
    )
    loss_on_inputs: bool = option(False, "a decoder predicts the inputs too", needs={"prefix": ("causal",)})

    def check_prefix(self, model_config) -> None:
        """Refuses a decoder that cannot read a full prefix.

        Raises:
            ConfigError: what to set.
        """
        if self.prefix == "full":
            check_looks_ahead(model_config, "objective.prefix=full", "objective.prefix=causal")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TextToText(TokenLoss, Prefixed):
    """What objectives over pairs share: how a pair is laid out for a model, and the loss.

    A decoder's rows carry no segments: padding stands at the end, where nothing before it sees it.

    Attributes:
        architecture: of the model.
        target_length: tokens of the buffer of targets; None: as many as are needed.
        eos_id: id that ends inputs and targets.
    """

    architectures = ("encoder_decoder", "decoder")
    architecture: str = "encoder_decoder"
    target_length: int | None = None
    eos_id: int | None = None

    @property
    def decoder_start(self):
        """Id that an encoder-decoder's decoder reads first: that of padding, as T5."""
        return self.pad_id

    @property
    def inputs_length(self):
        """Tokens of the buffer of inputs, I."""
        return self.length

    @property
    @abc.abstractmethod
    def targets_needed(self):
        """Tokens of the buffer of targets where `target_length` does not say."""

    @property
    def fewest_targets(self):
        """The least that `target_length` may be."""
        return self.targets_needed

    @property
    def targets_length(self):
        """Tokens of the buffer of targets, O."""
        return self.targets_needed if self.target_length is None else self.target_length

    @property
    def joint_length(self):
        """Most tokens of inputs and targets together; a decoder reads one less, as the last is only ever a target."""
        return self.inputs_length + self.targets_length

    @property
    def stack_lengths(self):
        """Those of encoder and decoder, or of a decoder that reads both."""
        if self.architecture == "encoder_decoder":
            return {"data.sequence_length": self.inputs_length, "data.target_length": self.targets_length}
        return {"data.sequence_length (inputs and targets together)": self.joint_length - 1}

    def check_fit(self, config, tables, model_config):
        """Refuses too short a buffer of targets, and a decoder that cannot read its prefix."""
        super().check_fit(config, tables, model_config)
        if self.target_length is not None and self.target_length < self.fewest_targets:
            raise ConfigError(
                f"data.target_length={self.target_length} is too short: rows of data.sequence_length={self.length} "
                f"make targets of {self.fewest_targets} tokens; leave data.target_length unset or set it to "
                f"{self.fewest_targets} or more"
            )
        if self.architecture == "decoder":
            self.check_prefix(model_config)

    @abc.abstractmethod
    def pair_row(self, key, row):
        """Makes a pair of one row.

        Args:
            key: threefry key of this row and step.
            row: dict of arrays as in rows, without the batch dimension.

        Returns:
            Pair.
        """

    def corrupt_row(self, key, row):
        """Lays out the pair: of an encoder-decoder `tokens` [I] (and `segments` where rows are ragged),
        `decoder_tokens`, `targets` and `target_weights` [O]; of a decoder `tokens`, `targets`, `target_weights` (and
        `ranks` with a full prefix), [joint_length - 1]."""
        pair = self.pair_row(key, row)
        if "segments" in row:  # a row of nothing but padding
            pair = pair._replace(targets_count=jnp.where(jnp.any(row["segments"] > 0), pair.targets_count, 0))
        return self._two_streams(pair) if self.architecture == "encoder_decoder" else self._one_stream(pair)

    def _two_streams(self, pair):
        batch = {
            "tokens": pair.inputs,
            "decoder_tokens": jnp.roll(pair.targets, 1).at[0].set(self.decoder_start),
            "targets": pair.targets,
            "target_weights": (jnp.arange(self.targets_length) < pair.targets_count).astype(jnp.float32),
        }
        if not isinstance(pair.inputs_count, int) or pair.inputs_count < self.inputs_length:
            batch["segments"] = (jnp.arange(self.inputs_length) < pair.inputs_count).astype(jnp.int32)
        return batch

    def _one_stream(self, pair):
        # The targets overwrite whatever follows the inputs, so that there is no gap.
        room = jnp.concatenate([pair.inputs, jnp.full(self.targets_length, self.pad_id, pair.inputs.dtype)])
        whole = jax.lax.dynamic_update_slice(room, pair.targets, (pair.inputs_count,))[: self.joint_length]
        place_T = jnp.arange(self.joint_length - 1)
        scored_T = place_T + 1 < pair.inputs_count + pair.targets_count
        if not self.loss_on_inputs:
            scored_T &= place_T + 1 >= pair.inputs_count
        scored_T &= pair.targets_count > 0
        batch = {"tokens": whole[:-1], "targets": whole[1:], "target_weights": scored_T.astype(jnp.float32)}
        if self.prefix == "full":
            batch["ranks"] = jnp.where(place_T < pair.inputs_count, 0, place_T).astype(jnp.int32)
        return batch


def check_looks_ahead(model_config, option, otherwise) -> None:
    """Refuses a decoder that does not tell apart what stands after a query.

    Args:
        model_config: models.ModelConfig.
        option: what lets queries see it.
        otherwise: the way out besides another model.

    Raises:
        ConfigError: names both.
    """
    if model_config.positions.endswith("relative_bias") and not model_config.relative_bidirectional:
        raise ConfigError(
            f"{option}: this decoder's relative bias does not tell apart the tokens after a query; set "
            f"model.relative_bidirectional=True (preset prefix_lm_base) or {otherwise}"
        )


def text_length(row):
    """Tokens of a row that are not padding: a Python int where rows are always full, else an int32 scalar."""
    return jnp.sum(row["segments"] > 0) if "segments" in row else row["tokens"].shape[0]


def cut(tokens_R, first, count, end, pad, size):
    """A piece of a row in a buffer of its own.

    Args:
        tokens_R: int32 [R].
        first, count: the tokens of the piece.
        end: id that is put after them, or None.
        pad: id of padding.
        size: Python int.

    Returns:
        int32 [size], and how many of these are no padding.
    """
    place = jnp.arange(size)
    tokens = jnp.take(tokens_R, first + place, mode="clip")
    after = pad if end is None else jnp.where(place == count, end, pad)
    return jnp.where(place < count, tokens, after).astype(tokens_R.dtype), count + (end is not None)


def compact(tokens_R, chosen_R, pad, size):
    """The chosen tokens of a row without gaps, in a buffer of its own.

    Args:
        tokens_R: int32 [R].
        chosen_R: bool [R].
        pad: id of padding.
        size: Python int; what lies beyond is lost.

    Returns:
        int32 [size], and how many were chosen.
    """
    place_R = jnp.where(chosen_R, jnp.cumsum(chosen_R) - 1, size)  # what lies outside is not written
    return jnp.full(size, pad, tokens_R.dtype).at[place_R].set(tokens_R, mode="drop"), jnp.sum(chosen_R)


def split_row(tokens_R, length, split, end, pad, inputs_length, targets_length):
    """The pair of a text and its continuation.

    Args:
        tokens_R: int32 [R].
        length: tokens that are text, at most R.
        split: tokens of the inputs, at most `length`.
        end: id that ends inputs and targets, or None.
        pad: id of padding.
        inputs_length, targets_length: sizes of the buffers.

    Returns:
        Pair.
    """
    inputs = cut(tokens_R, 0, split, end, pad, inputs_length)
    return Pair(*inputs, *cut(tokens_R, split, length - split, end, pad, targets_length))
