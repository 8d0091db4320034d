"""The states of a row that its heads read."""

import jax.numpy as jnp


def gather(hidden_BTD, positions_BP):
    """The hidden states at P positions of each row, [B, P, D]."""
    return jnp.take_along_axis(hidden_BTD, positions_BP[:, :, None], axis=1)


def pool(hidden_BTD, config, segments, positions):
    """The state of each row that classifiers read, [B, D], or those of several texts in a row, [B, E, D].

    Args:
        hidden_BTD: states of the last stack.
        config: ModelConfig; `pooling` says which place when `positions` is None. "max" takes the largest of each
            feature over all places that are not padding, "mean" their mean; of a row of nothing but padding, 0.
        segments: int32 [B, T], 0 for padding, or None.
        positions: int32 [B] or [B, E], or None.
    """
    if positions is not None:
        states = gather(hidden_BTD, positions.reshape(positions.shape[0], -1))
        return states.reshape(*positions.shape, states.shape[-1])
    if config.pooling in ("max", "mean"):
        return _over_places(hidden_BTD, config.pooling, segments)
    if config.pooling == "first":
        return hidden_BTD[:, 0]
    if segments is None:
        return hidden_BTD[:, -1]
    length = hidden_BTD.shape[1]
    last_B = length - 1 - jnp.argmax(jnp.flip(segments > 0, axis=1), axis=1)
    return gather(hidden_BTD, last_B[:, None])[:, 0]


def _over_places(hidden_BTD, kind, segments):
    """[B, D]: the largest or the mean of each feature over the places that are not padding."""
    if segments is None:
        return jnp.max(hidden_BTD, axis=1) if kind == "max" else jnp.mean(hidden_BTD, axis=1)
    real_BT1 = (segments > 0)[..., None]
    if kind == "max":
        largest_BD = jnp.max(jnp.where(real_BT1, hidden_BTD, jnp.finfo(hidden_BTD.dtype).min), axis=1)
        return jnp.where(jnp.any(real_BT1, axis=1), largest_BD, 0)  # the least number would overflow further on
    count_B1 = jnp.maximum(jnp.sum(real_BT1, axis=1), 1).astype(hidden_BTD.dtype)
    return jnp.sum(jnp.where(real_BT1, hidden_BTD, 0), axis=1) / count_B1
