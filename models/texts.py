"""Examples of several texts, such as choices: below the heads each text is a row of its own."""

import jax.numpy as jnp

from cloze.models.inputs import STREAM_KEYS


def fold(batch):
    """Puts the texts of examples that have several, one behind the other, into rows of their own.

    Args:
        batch: see models.inputs.

    Returns:
        The batch with [B, C, T] arrays of streams, and `pool_positions` [B, C], as [B * C, ...]; and C, or None where
        the batch has a text a row, and is returned as it is.
    """
    if "tokens" not in batch or batch["tokens"].ndim == 2:
        return batch, None
    streams = [prefix + key for prefix in ("", "decoder_") for key in STREAM_KEYS]
    flat = {key: batch[key].reshape(-1, batch[key].shape[-1]) for key in streams if key in batch}
    if "pool_positions" in batch:
        flat["pool_positions"] = batch["pool_positions"].reshape(-1)
    return batch | flat, batch["tokens"].shape[1]


def unfold(array, count):
    """[B * C, ...] -> [B, C, ...], where there are `count` texts an example; None stays None."""
    return array if array is None or count is None else array.reshape(-1, count, *array.shape[1:])


def add(state, count):
    """[B * C, D] -> [B, D]: the sum over an example's texts (GPT-1 reads a pair in both orders, Radford et al. 2018,
    3.3)."""
    return jnp.sum(unfold(state, count), axis=1)
