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
from cloze.objectives.base import Objective, check_loss_options, check_positions
from cloze.objectives.losses import token_terms

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
class TextToText(Objective):
    """What objectives over pairs share: how a pair is laid out for a model, and the loss.

    A decoder's rows carry no segments: padding stands at the end, where nothing before it sees it.

    Attributes:
        architecture: of the model.
        inputs_length, targets_length: tokens of the two buffers, I and O.
        joint_length: most tokens that inputs and targets have together; a decoder reads one less, the last being only
            ever a target.
        decoder_start: id that an encoder-decoder's decoder reads first.
        prefix: "full" or "causal", of decoders.
        loss_on_inputs: a decoder also predicts the inputs.
        label_smoothing, z_loss: see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder_decoder", "decoder")
    architecture: str
    inputs_length: int
    targets_length: int
    joint_length: int
    decoder_start: int
    prefix: str
    loss_on_inputs: bool
    label_smoothing: float
    z_loss: float

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
        room = jnp.concatenate([pair.inputs, jnp.full(self.targets_length, self.rows.pad, pair.inputs.dtype)])
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

    def loss(self, outputs, batch):
        """Terms "loss" (nats a target token) and "accuracy"."""
        return token_terms(outputs, batch, label_smoothing=self.label_smoothing, z_loss=self.z_loss)


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


def layout(config, tables, model_config, *, inputs_length, targets_length, joint_length=None, decoder_start=None):
    """Checks what all objectives over pairs are built from.

    Args:
        config: the whole configuration; reads `objective.prefix`, `loss_on_inputs`, `label_smoothing`, `z_loss`.
        tables: the tokenizer's tables.
        model_config: models.ModelConfig.
        inputs_length, targets_length: tokens of the two buffers.
        joint_length: most tokens that both have together; None: both buffers full.
        decoder_start: see `TextToText`; None: the padding token, as T5.

    Returns:
        The fields of `TextToText`, by name.

    Raises:
        ConfigError: an option outside its range, or rows that the model has no positions for.
    """
    objective = config.objective
    check_loss_options(config)
    joint_length = inputs_length + targets_length if joint_length is None else joint_length
    if model_config.architecture == "encoder_decoder":
        check_positions(model_config, inputs_length, "data.sequence_length")
        check_positions(model_config, targets_length, "data.target_length")
    else:
        check_decoder(config, model_config)
        check_positions(model_config, joint_length - 1, "data.sequence_length (inputs and targets together)")
    return dict(
        architecture=model_config.architecture,
        outputs=("lm",),
        inputs_length=inputs_length,
        targets_length=targets_length,
        joint_length=joint_length,
        decoder_start=tables.pad if decoder_start is None else decoder_start,
        prefix=objective.prefix,
        loss_on_inputs=objective.loss_on_inputs,
        label_smoothing=objective.label_smoothing,
        z_loss=objective.z_loss,
    )


def check_decoder(config, model_config):
    """Refuses options of a decoder's inputs that contradict each other or the model.

    Raises:
        ConfigError: which, and what to set.
    """
    objective = config.objective
    if objective.prefix not in PREFIXES:
        raise ConfigError(f"objective.prefix={objective.prefix!r} is not one of {', '.join(PREFIXES)}")
    if objective.prefix == "full" and objective.loss_on_inputs:
        raise ConfigError(
            "objective.loss_on_inputs: with objective.prefix=full the inputs see what they would have to predict; set "
            "objective.prefix=causal or objective.loss_on_inputs=False"
        )
    if (
        objective.prefix == "full"
        and model_config.positions.endswith("relative_bias")
        and not model_config.relative_bidirectional
    ):
        raise ConfigError(
            "objective.prefix=full: this decoder's relative bias does not tell apart the tokens after a query; set "
            "model.relative_bidirectional=True (preset prefix_lm_base) or objective.prefix=causal"
        )


def room_for_targets(config, needed):
    """Tokens of the buffer of targets: data.target_length, or what is needed where that is unset.

    Raises:
        ConfigError: data.target_length is too short.
    """
    length = config.data.target_length
    if length is not None and length < needed:
        raise ConfigError(
            f"data.target_length={length} is too short: rows of data.sequence_length={config.data.sequence_length} "
            f"make targets of {needed} tokens; leave data.target_length unset or set it to {needed} or more"
        )
    return needed if length is None else length
