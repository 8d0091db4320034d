"""What a model answers, for arrays in the layout that users of Hugging Face hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.interop import formats


@functools.partial(jax.jit, static_argnums=0)
def _forward(model, params, batch):
    outputs = model.apply({"params": params}, batch)
    main = min(model.config.heads_out, key=lambda name: name == "pooler", default=None)  # a pooler alone, if at all
    answer = outputs.hidden if main is None else outputs.heads[main]
    return answer.astype(jnp.float32)


def logits(model, params, token_ids, attention_mask, token_types=None, decoder_token_ids=None):
    """What the first of the model's heads gives, in one jitted forward pass.

    Args:
        model: models.Transformer.
        params: its parameters.
        token_ids: int [B, T], of the encoder where there is one.
        attention_mask: [B, T], 1 for real tokens and 0 for padding, which may be at either end.
        token_types: int [B, T], BERT's sentence A or B; None: all 0.
        decoder_token_ids: int [B, U], only and always for an encoder-decoder; they are not padded. For classes of rows
            give the same tokens shifted right by one place, as BART and T5 have it: the state at the row's last real
            token is read.

    Returns:
        numpy f32: scores over the vocabulary [B, T or U, V], or of classes [B, C], of each token's classes [B, T, C],
        of starts and ends [B, T, 2]; of a body without heads, its states. At padding they mean nothing.

    Raises:
        ConfigError: shapes that do not go together, or a decoder's tokens missing or too many.
    """
    token_ids = np.asarray(token_ids, np.int32)
    mask = np.asarray(attention_mask).astype(np.int32)
    if token_ids.ndim != 2 or mask.shape != token_ids.shape:
        raise ConfigError(
            f"token_ids {list(token_ids.shape)} and attention_mask {list(mask.shape)} must both be [rows, length]"
        )
    two_stacks = model.config.architecture == "encoder_decoder"
    if two_stacks != (decoder_token_ids is not None):
        raise ConfigError(
            f"a model of architecture {model.config.architecture} {'needs' if two_stacks else 'takes no'} "
            "decoder_token_ids"
        )
    _check(model.config, "token_ids", token_ids)
    batch = {"tokens": token_ids}
    if not mask.all():  # rows without padding can use fused kernels
        batch["segments"] = mask
        if _skips_padding(model.config.family):
            batch["positions"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0).astype(np.int32)
    if token_types is not None:
        batch["token_types"] = np.asarray(token_types, np.int32)
    if two_stacks:
        batch["decoder_tokens"] = np.asarray(decoder_token_ids, np.int32)
        _check(model.config, "decoder_token_ids", batch["decoder_tokens"])
        if batch["decoder_tokens"].shape == token_ids.shape:
            batch["pool_positions"] = (mask.shape[1] - 1 - np.argmax(mask[:, ::-1] > 0, axis=1)).astype(np.int32)
    return np.asarray(_forward(model, params, batch))


def _check(config, name, ids):
    """Refuses what would look up rows that no table has."""
    if config.longest_row is not None and ids.shape[1] > config.longest_row:
        raise ConfigError(f"{name} are {ids.shape[1]} long, the model has {config.longest_row} positions: cut the rows")
    if ids.size and not 0 <= ids.min() <= ids.max() < config.vocab_size:
        raise ConfigError(
            f"{name} must lie in [0, {config.vocab_size}), found {ids.min()} to {ids.max()}: were they made "
            "by another tokenizer?"
        )


def _skips_padding(family):
    return any(known.positions_skip_padding for known in formats.of_family(family))
