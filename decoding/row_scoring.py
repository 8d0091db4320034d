"""How probable given tokens are in rows of any kind and length: what every score of whole texts is made of.

Rows of like length share a batch, in one of a few lengths, so that short texts do not pay for long ones and few
programs are compiled. Shapes: B rows, T places of the first stack, D of a decoder beside it, P targets, V vocabulary.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cloze.decoding.devices import ONE, Devices, to_host

LENGTHS = 16, 32, 64, 128, 256, 512, 1024, 2048, 4096


class Row(NamedTuple):
    """One row, and the tokens in it whose probability is asked for.

    Attributes:
        tokens: int [T], what the first or only stack reads.
        places: int [P], where the targets are predicted: in the decoder where there are two stacks.
        targets: int [P].
        decoder: int [D], what the decoder beside an encoder reads; None where there is one stack.
        sees_all: of a decoder alone: each place sees the whole row, not only what stands before it.
    """

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    decoder: np.ndarray | None = None
    sees_all: bool = False


class Scored(NamedTuple):
    """Of n rows.

    Attributes:
        log_probs: f64 [n], the sum over a row's targets, in nats.
        greedy: bool [n], whether each target is the most probable token at its place.
    """

    log_probs: np.ndarray
    greedy: np.ndarray


def _nothing(count: int) -> None:
    """For those who do not count."""


def score(
    model, params, rows: Sequence[Row], *, length: int, batch_size: int, pad_id: int,
    done: Callable[[int], None] = _nothing, devices: Devices = ONE,
) -> Scored:  # fmt: skip
    """The log-probability of every row's targets.

    Args:
        model: with the head "lm" or "mlm".
        params: its parameters.
        rows: of one kind: all with a decoder or none, all with the same `sees_all`.
        length: tokens of a row at most, of either stack.
        batch_size: rows that are run at once.
        pad_id: id of padding.
        done: called with the number of rows that were scored since the last call.
        devices: where it is run; a batch has a few rows more where they do not divide.

    Returns:
        Scored, in the order of the rows. What a row gets does not depend on the others.
    """
    log_probs, greedy = np.zeros(len(rows)), np.zeros(len(rows), bool)
    shape = _Shape(length, devices.whole(batch_size), pad_id)
    for numbers, batch in _batches(model.config.architecture, rows, shape):
        with devices.context():
            found = to_host(_targets(model, params, devices.place(batch)))
        log_probs[numbers], greedy[numbers] = (array[: len(numbers)] for array in found)
        done(len(numbers))
    return Scored(log_probs, greedy)


def vocabulary(
    model, params, rows: Sequence[Row], is_text: np.ndarray, *, length: int, batch_size: int, pad_id: int,
    done: Callable[[int], None] = _nothing, devices: Devices = ONE,
) -> Iterator[tuple[int, np.ndarray]]:  # fmt: skip
    """Yields (number of a row, f32 [V] log-probabilities at its only place, among ids that are text).

    Args:
        as of `score`; a row's target is not looked at.
        is_text: bool [V], the ids that are compared; others get -inf.
    """
    shape = _Shape(length, devices.whole(batch_size), pad_id)
    for numbers, batch in _batches(model.config.architecture, rows, shape):
        with devices.context():
            log_probs_BV = to_host(_words(model, params, devices.place(batch), is_text))
        yield from zip(numbers, log_probs_BV[: len(numbers)], strict=True)
        done(len(numbers))


class _Shape(NamedTuple):
    """Of batches: tokens of a row at most, rows, the id of padding."""

    length: int
    rows: int
    pad_id: int

    def size(self, tokens):
        """The least of a few lengths that holds tokens; 0 for none."""
        if tokens is None:
            return 0
        return next((size for size in LENGTHS if len(tokens) <= size < self.length), max(self.length, len(tokens)))

    def padded(self, texts):
        """(tokens, segments) int32 [B, T]."""
        shape = (len(texts), max(map(self.size, texts)))
        tokens, segments = np.full(shape, self.pad_id, np.int32), np.zeros(shape, np.int32)
        for number, text in enumerate(texts):
            tokens[number, : len(text)], segments[number, : len(text)] = text, 1
        return tokens, segments


def _batches(architecture, rows, shape):
    """Yields (numbers of rows, their batch), rows of like length together, the longest first."""
    sizes = [(-shape.size(row.tokens), -shape.size(row.decoder)) for row in rows]
    order = sorted(range(len(rows)), key=sizes.__getitem__)
    for first in range(0, len(order), shape.rows):
        numbers = order[first : first + shape.rows]
        yield numbers, _batch(architecture, [rows[n] for n in numbers], shape)


def _batch(architecture, rows, shape):
    """The batch of rows for `_targets`; what is missing repeats the first row."""
    rows = [*rows, *rows[:1] * (shape.rows - len(rows))]
    tokens, segments = shape.padded([row.tokens for row in rows])
    most = 1 if all(len(row.places) == 1 for row in rows) else max(shape.size(row.places) for row in rows)
    batch = {"tokens": tokens, "segments": segments}
    for name, kind in (("places", np.int32), ("targets", np.int32), ("weights", np.float32)):
        batch[name] = np.zeros((shape.rows, most), kind)
    for number, row in enumerate(rows):
        count = len(row.places)
        batch["places"][number, :count], batch["targets"][number, :count] = row.places, row.targets
        batch["weights"][number, :count] = 1
    if rows[0].decoder is not None:
        batch["decoder_tokens"], _ = shape.padded([row.decoder for row in rows])
    elif rows[0].sees_all:
        batch["ranks"] = np.zeros_like(tokens)
    elif architecture == "decoder":
        del batch["segments"]  # what stands behind is not seen anyway, and a kernel without segments is faster
    return batch


def _logits(model, params, batch):
    """f32 [B, P, V] at the places of a batch."""
    inputs = {name: array for name, array in batch.items() if name not in ("places", "targets", "weights")}
    if "decoder_tokens" not in inputs:
        return model.apply({"params": params}, inputs | {"prediction_positions": batch["places"]}).logits
    logits_BDV = model.apply({"params": params}, inputs).logits
    return jnp.take_along_axis(logits_BDV, batch["places"][..., None], axis=1)


@functools.partial(jax.jit, static_argnames=("model",))
def _targets(model, params, batch):
    """(log-probabilities f32 [B], whether all targets are the most probable bool [B])."""
    logits_BPV = _logits(model, params, batch).astype(jnp.float32)
    of_target_BP = jnp.take_along_axis(logits_BPV, batch["targets"][..., None], axis=-1)[..., 0]
    log_probs_BP = of_target_BP - jax.nn.logsumexp(logits_BPV, axis=-1)
    greedy_BP = (jnp.argmax(logits_BPV, axis=-1) == batch["targets"]) | (batch["weights"] == 0)
    return jnp.sum(log_probs_BP * batch["weights"], axis=-1), jnp.all(greedy_BP, axis=-1)


@functools.partial(jax.jit, static_argnames=("model",))
def _words(model, params, batch, is_text_V):
    """f32 [B, V]."""
    logits_BV = _logits(model, params, batch)[:, 0, : len(is_text_V)].astype(jnp.float32)
    return jax.nn.log_softmax(jnp.where(is_text_V, logits_BV, -jnp.inf))
