"""Writing: one token of each row after another, the most probable one or a drawn one.

`begin` reads the prompts and chooses the first token; `advance` goes on, in one compiled loop, as far as it is told to.
So what is written can be looked at on the way, by `write`, without another program. Each may be called under a mesh.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cloze.decoding import beams, rows, transforms
from cloze.decoding.cached import prefill, step
from cloze.decoding.devices import put, to_host

_STATIC = ("model", "options", "end_ids", "pad_id")


@struct.dataclass
class State:
    """What is written so far. Shapes: B rows, S places: those of the prompts and `max_tokens`.

    Attributes:
        number: int32 scalar, tokens written in each row.
        tokens: int32 [B, S], what is written directly behind each prompt.
        start: int32 [B], tokens of each prompt; 0 of a row that is filler.
        last: int32 [B], the last token.
        lengths: int32 [B], tokens written before the end.
        ended: bool [B].
        keys: a random key for each row, [B]; None where nothing is drawn.
        cache: models.cache.Cache with all but the last token.
    """

    number: Any
    tokens: Any
    start: Any
    last: Any
    lengths: Any
    ended: Any
    keys: Any
    cache: Any


class Written(NamedTuple):
    """What was written, numpy; the texts of a prompt are rows one after the other, the best beams first.

    Attributes:
        tokens: int32 [B * num_samples, max_tokens], the end included, and padding behind it.
        lengths: int32 [B * num_samples], tokens before the end; `max_tokens` where there is none.
        scores: f32 [B * num_samples] of beams, log-probabilities in nats over their normalised lengths; else None.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray | None = None


def write(
    model, params, batch, prompt_lengths, valid_V, *, options, end_ids, pad_id, prefix="causal", keys=None,
    watch: Callable[[np.ndarray, int], Any] | None = None, every: int = 8,
) -> Written:  # fmt: skip
    """Continues every prompt until a token that ends it, or for `options.max_tokens`.

    Args:
        model, params, batch, prompt_lengths, prefix: see `decoding.prefill`. A row whose prompt has length 0 is filler
            and gets no tokens.
        valid_V: bool [V], the ids that may be written: a vocabulary may have rows without a piece.
        options: decoding.DecodingOptions.
        end_ids: tuple of ids, each of which ends a text; it is written, too.
        pad_id: id that stands behind it.
        keys: random keys [B * num_samples], where options draw: what is written of a row depends on its own alone.
        watch: called with the tokens so far, int32 [B * num_samples, max_tokens], and how many were written. Gives
            bool [B * num_samples], rows that end here, or None. Not of beams.
        every: tokens between these calls.

    Raises:
        ConfigError: see `decoding.prefill`.
    """
    given = dict(options=options.compiled, end_ids=tuple(end_ids), pad_id=pad_id)
    if options.beams > 1:
        found = beams.search(model, params, batch, prompt_lengths, valid_V, prefix=prefix, **given)
        return Written(*to_host(found))
    state = begin(model, params, batch, prompt_lengths, valid_V, keys, prefix=prefix, **given)
    most = options.max_tokens
    while True:
        number = int(state.number)
        tokens, ended = to_host((rows.behind(state.tokens, state.start, most), state.ended))
        if watch is not None and (over := watch(tokens, number)) is not None:
            ended = ended | over
            state = state.replace(ended=put(ended, state.ended.sharding))
        if number >= most or ended.all():
            return Written(tokens, to_host(state.lengths))
        until = most if watch is None else min(number + every, most)
        state = advance(model, params, state, valid_V, jnp.int32(until), **given)


@functools.partial(jax.jit, static_argnames=(*_STATIC, "prefix"))
def begin(model, params, batch, prompt_lengths, valid_V, keys=None, *, options, end_ids, pad_id, prefix="causal"):
    """The State with the first token of every row; arguments as of `write`."""
    prompts = batch["decoder_tokens" if model.config.architecture == "encoder_decoder" else "tokens"]
    size, longest = prompts.shape
    # The last token is never read, so the cache needs no place for it.
    length = longest + options.max_tokens - 1
    logits_BV, cache = prefill(model, params, batch, prompt_lengths, length, prefix=prefix)
    state = State(
        number=jnp.zeros((), jnp.int32),
        tokens=rows.laid_out(prompts, prompt_lengths, options.max_tokens, pad_id),
        start=jnp.asarray(prompt_lengths, jnp.int32),
        last=jnp.full(size, pad_id, jnp.int32),
        lengths=jnp.zeros(size, jnp.int32),
        ended=jnp.asarray(prompt_lengths) == 0,
        keys=None,
        cache=cache,
    )
    if options.num_samples > 1:
        state, logits_BV = rows.repeated((state, logits_BV), options.num_samples)
    state = state.replace(keys=keys if options.draws else None)
    return _choose(state, logits_BV, valid_V, options, end_ids, pad_id)


@functools.partial(jax.jit, static_argnames=_STATIC, donate_argnames=("state",))
def advance(model, params, state, valid_V, until, *, options, end_ids, pad_id):
    """The State after more tokens, `until` (int32 scalar) in all or until every row has ended."""

    def unfinished(state):
        return (state.number < until) & ~jnp.all(state.ended)

    def more(state):
        logits_BV, cache = step(model, params, state.last, state.cache)
        return _choose(state.replace(cache=cache), logits_BV, valid_V, options, end_ids, pad_id)

    return jax.lax.while_loop(unfinished, more, state)


def _choose(state, logits_BV, valid_V, options, end_ids, pad_id):
    """The State with one more token of each row."""
    counts_B = state.start + state.number
    chain = transforms.chain(options, valid_V, end_ids, state.start)
    logits_BV = chain(logits_BV, transforms.Text(state.tokens, counts_B, state.number))
    if options.draws:
        logits_BV += _noise(state.keys, state.number, logits_BV.shape[1])
    best_B = jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    best_B = jnp.where(state.ended, pad_id, best_B)
    ended_B = state.ended | jnp.isin(best_B, jnp.array(end_ids, jnp.int32))
    return state.replace(
        number=state.number + 1,
        tokens=rows.put(state.tokens, counts_B, best_B),
        last=best_B,
        lengths=state.lengths + ~ended_B,
        ended=ended_B,
    )


def _noise(keys_B, number, size):
    """Gumbel noise f32 [B, size]: the greatest of logits with it is a draw from their softmax."""
    return jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, number), (size,)))(keys_B)
