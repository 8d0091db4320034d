"""Running a decoder from its cache: the prompts in one pass, then a token of each row at a time.

`model` is what has `config` and `apply` as models.Transformer: a decoder or an encoder-decoder with the head "lm".
Prompts are padded at the right, and each row goes on at its own end; what is computed is what rows without padding
would give, up to rounding.
"""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.cache import new_cache
from cloze.models.platforms import platform
from cloze.models.stack import Apart, apart

PREFIXES = ("full", "causal")


def for_writing(params):
    """Parameters of a model that writes, as every token reads them: on a CPU, each layer of its decoder by itself.

    `prefill` and `step` run with these or with the ones given, and compute the same. The decoder's layers are copied:
    for as long as both trees are kept, they take twice the memory. On other devices, and where they are cut over
    several, the parameters are as given; there nothing has been measured.

    Args:
        params: nested tree of parameters of a decoder or an encoder-decoder.
    """
    cut = any(len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array))
    if platform() != "cpu" or cut:
        return params
    decoder = params["decoder"]
    return {**params, "decoder": {**decoder, "layers": jax.jit(apart)(decoder["layers"])}}


def prefill(model, params, batch, prompt_lengths, length, *, prefix="causal"):
    """Reads the prompts.

    Args:
        model, params: the model and its parameters.
        batch: of a decoder, `tokens` int32 [B, T], the prompts. Of an encoder-decoder, what the encoder reads, `tokens`
            int32 [B, M] (and `segments`, 1 for text and 0 for padding), and `decoder_tokens` int32 [B, T], with which
            its decoder begins.
        prompt_lengths: int32 [B], how many of the T are the row's own, at least 1.
        length: tokens of the longest row of the decoder that there will be: T and one for each `step`.
        prefix: "causal", or "full": the prompt sees itself in both directions (a prefix language model).

    Returns:
        (logits f32 [B, V] of the token after each prompt, models.cache.Cache).

    Raises:
        ConfigError: the model cannot be run from a cache, or has no positions for rows so long.
    """
    _check(model.config, batch, length, prefix)
    side, (rows, count) = _side(model.config), batch[f"{_side(model.config)}tokens"].shape
    in_front = model.config.prompt_length  # a learned prompt, in front of the first stack
    memory_length, before = (batch["tokens"].shape[1] + in_front, 0) if side else (0, in_front)
    batch = {**batch, "prediction_positions": jnp.maximum(prompt_lengths - 1, 0)[:, None]}
    if prefix == "full":
        place = jnp.arange(count)
        batch["ranks"] = jnp.where(place < prompt_lengths[:, None], 0, place)
    with _whole_rows():
        cache = new_cache(
            model.config, rows, length + before, memory_length=memory_length, parts=_parts(model.config, params)
        )
        outputs = model.apply({"params": params}, batch, cache=cache)
    return outputs.logits[:, 0], outputs.cache.replace(index=prompt_lengths + before)


def step(model, params, tokens_B, cache):
    """Reads one more token of each row.

    Args:
        model, params: the model and its parameters.
        tokens_B: int32 [B].
        cache: of `prefill` or the last step.

    Returns:
        (logits f32 [B, V] of the token after these, the next cache).
    """
    key = f"{_side(model.config)}tokens"
    with _whole_rows():
        outputs = model.apply({"params": params}, {key: tokens_B[:, None]}, cache=cache)
    return outputs.logits[:, 0], outputs.cache


def _parts(config, params):
    """In how many parts a cache is kept: one, or one for each layer where they lie apart."""
    lie_apart = isinstance(params["decoder"]["layers"], Apart)
    return (config.decoder_layers or config.layers) if lie_apart else 1


def _side(config):
    """What stands before the names of the arrays that the writing stack reads."""
    return "decoder_" if config.architecture == "encoder_decoder" else ""


@contextlib.contextmanager
def _whole_rows():
    """Rows of one token cannot be cut: on a mesh with a `sequence` axis, all of its devices compute the same."""
    rules = [(name, None if name == axes.LENGTH else at) for name, at in nn.get_logical_axis_rules()]
    with nn.logical_axis_rules(rules):
        yield


def _check(config, batch, length, prefix):
    if config.architecture not in ("decoder", "encoder_decoder") or "lm" not in config.heads_out:
        raise ConfigError(
            f"model.architecture={config.architecture} with model.heads_out={','.join(config.heads_out) or 'none'} "
            'writes no text: that takes a decoder or an encoder_decoder with the head "lm"'
        )
    if not config.scheme.incremental:
        raise ConfigError(
            f"model.positions={config.positions}: scores of contents against distances cannot be computed from a cache"
        )
    if prefix not in PREFIXES:
        raise ConfigError(f"objective.prefix={prefix!r} is not one of {', '.join(PREFIXES)}")
    if prefix == "full" and config.architecture == "encoder_decoder":
        raise ConfigError("objective.prefix=full is of decoders; the decoder of an encoder_decoder is causal")
    count = batch[f"{_side(config)}tokens"].shape[1]
    if length < count:
        raise ConfigError(f"prompts of {count} tokens do not fit into rows of {length}")
    longest = max(length, batch["tokens"].shape[1])
    if config.longest_row is not None and longest > config.longest_row:
        raise ConfigError(
            f"prompts of {batch['tokens'].shape[1]} tokens and what is written make rows of {longest}, but the model "
            f"has positions for {config.longest_row}: shorten the prompts, or write fewer tokens"
        )
