"""Greedy decoding: always the most probable next token."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cloze.decoding.cached import prefill, step


class _State(NamedTuple):
    """What is written so far.

    Attributes:
        number: int32 scalar, tokens written in each row.
        tokens: int32 [B, max_tokens].
        lengths: int32 [B], those before the end.
        ended: bool [B].
        cache: models.cache.Cache with all but the last token.
    """

    number: Any
    tokens: Any
    lengths: Any
    ended: Any
    cache: Any


@functools.partial(jax.jit, static_argnames=("model", "max_tokens", "end_ids", "pad_id", "prefix"))
def greedy(model, params, batch, prompt_lengths, valid_V, *, max_tokens, end_ids, pad_id, prefix="causal"):
    """Continues every prompt until a token that ends it, or for `max_tokens`.

    It is one compiled loop, which stops when all rows have ended.

    Args:
        model, params, batch, prompt_lengths, prefix: see `decoding.prefill`. A row whose prompt has length 0 is filler
            and gets no tokens.
        valid_V: bool [V], the ids that may be written: a vocabulary may have rows without a piece.
        max_tokens: most tokens that are written, at least 1.
        end_ids: tuple of ids, each of which ends a text; it is written, too.
        pad_id: id that stands behind it.

    Returns:
        (tokens int32 [B, max_tokens], lengths int32 [B]: tokens before the end, `max_tokens` where there is none).

    Raises:
        ConfigError: see `decoding.prefill`.
    """
    prompts = batch["decoder_tokens" if model.config.architecture == "encoder_decoder" else "tokens"]
    rows, longest = prompts.shape

    def write(state, logits_BV, cache):
        best_B = jnp.argmax(jnp.where(valid_V, logits_BV, -jnp.inf), axis=-1).astype(jnp.int32)
        tokens = state.tokens.at[:, state.number].set(jnp.where(state.ended, pad_id, best_B))
        ended = state.ended | jnp.isin(best_B, jnp.array(end_ids))
        return _State(state.number + 1, tokens, state.lengths + ~ended, ended, cache)

    def unfinished(state):
        return (state.number < max_tokens) & ~jnp.all(state.ended)

    def more(state):
        return write(state, *step(model, params, state.tokens[:, state.number - 1], state.cache))

    empty = _State(
        number=jnp.zeros((), jnp.int32),
        tokens=jnp.full((rows, max_tokens), pad_id, jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        ended=prompt_lengths == 0,
        cache=None,
    )
    # The last token is never read, so the cache needs no place for it.
    begun = prefill(model, params, batch, prompt_lengths, longest + max_tokens - 1, prefix=prefix)
    done = jax.lax.while_loop(unfinished, more, write(empty, *begun))
    return done.tokens, done.lengths
