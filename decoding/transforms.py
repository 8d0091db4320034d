"""What is done to logits before a token is chosen: small pure functions, put together by `chain`.

Each takes and gives logits f32 [B, V]; -inf is a token that cannot be chosen. Those that look back take a `Text`.
Shapes: B rows, S places of a row's text, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Text(NamedTuple):
    """What each row has read and written.

    Attributes:
        tokens: int32 [B, S], prompts and what is written behind them.
        counts: int32 [B], how many of the S there are.
        written: int32 scalar, how many of them were written.
    """

    tokens: Any
    counts: Any
    written: Any


def only(logits_BV, valid_V):
    """Leaves only the ids of a mask, bool [V]."""
    return jnp.where(valid_V, logits_BV, -jnp.inf)


def repetition_penalty(logits_BV, text, penalty):
    """Divides the logits of tokens that are in the text by the penalty, and multiplies those below 0 with it.

    Keskar et al. 2019 (CTRL), section 4.1, which divides always; below 0 that would reward repetition.
    """
    places_S, size = jnp.arange(text.tokens.shape[1]), logits_BV.shape[1]

    @jax.vmap
    def seen(tokens_S, count):
        return jnp.zeros(size, bool).at[jnp.where(places_S < count, tokens_S, size)].set(True, mode="drop")

    penalized_BV = jnp.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return jnp.where(seen(text.tokens, text.counts), penalized_BV, logits_BV)


def no_repeat_ngrams(logits_BV, text, size):
    """Refuses tokens that would end a sequence of `size` tokens that is in the text already.

    Paulus et al. 2018, section 2.5, there for trigrams.
    """
    length, vocab = text.tokens.shape[1], logits_BV.shape[1]
    if length < size:
        return logits_BV
    windows = jnp.arange(length - size + 1)[:, None] + jnp.arange(size)

    @jax.vmap
    def banned(tokens_S, count):
        last = jax.lax.dynamic_slice(tokens_S, (jnp.maximum(count - size + 1, 0),), (size - 1,))
        begins = jnp.all(tokens_S[windows[:, :-1]] == last, axis=-1) & (windows[:, -1] < count)
        return jnp.zeros(vocab, bool).at[jnp.where(begins, tokens_S[windows[:, -1]], vocab)].set(True, mode="drop")

    return jnp.where(banned(text.tokens, text.counts), -jnp.inf, logits_BV)


def min_tokens(logits_BV, text, count, end_ids):
    """Refuses ends until `count` tokens are written."""
    ends_V = jnp.isin(jnp.arange(logits_BV.shape[1]), jnp.array(end_ids, jnp.int32))
    return jnp.where(ends_V & (text.written < count), -jnp.inf, logits_BV)


def forced(logits_BV, now_B, token):
    """Leaves one token alone in the rows that `now_B`, bool [B] or a scalar, says; its logit is then 0."""
    is_it_V = jnp.arange(logits_BV.shape[1]) == token
    now = jnp.broadcast_to(now_B, logits_BV.shape[:1])[:, None]
    return jnp.where(now, jnp.where(is_it_V, 0.0, -jnp.inf), logits_BV)


def temperature(logits_BV, scale):
    """Divides by a number above 0 (Ackley et al. 1985): below 1 sharpens, above flattens."""
    return logits_BV / scale


def top_k(logits_BV, count):
    """Leaves the `count` greatest (Fan et al. 2018, section 5.4); of equal ones all."""
    least_B1 = jax.lax.top_k(logits_BV, min(count, logits_BV.shape[1]))[0][:, -1:]
    return jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)


def top_p(logits_BV, mass):
    """Leaves the smallest set of most probable tokens whose mass is at least `mass`; of equal ones all.

    Nucleus sampling, Holtzman et al. 2020, section 3.1.
    """
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    probs_BV = jax.nn.softmax(sorted_BV, axis=-1)
    before_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV
    least_B1 = jnp.min(jnp.where(before_BV < mass, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)


def min_p(logits_BV, share):
    """Leaves tokens whose probability is at least `share` of the greatest (Nguyen et al. 2024, section 3.2)."""
    probs_BV = jax.nn.softmax(logits_BV, axis=-1)
    return jnp.where(probs_BV < share * probs_BV.max(axis=-1, keepdims=True), -jnp.inf, logits_BV)


def chain(options, valid_V, end_ids, start) -> Callable[[Any, Text], Any]:
    """All that the options ask for, as one function of (logits f32 [B, V], Text), in the order of transformers.

    Args:
        options: decoding.DecodingOptions.
        valid_V: bool [V], the ids that may be written.
        end_ids: ids that end a text.
        start: int32 [B], tokens of each prompt.
    """
    o, steps = options, [lambda x, text: only(x, valid_V)]
    if o.repetition_penalty != 1:
        steps.append(functools.partial(repetition_penalty, penalty=o.repetition_penalty))
    if o.no_repeat_ngram_size:
        steps.append(functools.partial(no_repeat_ngrams, size=o.no_repeat_ngram_size))
    if o.suppressed:
        suppressed = jnp.array(o.suppressed, jnp.int32)
        steps.append(lambda x, text: only(x, ~jnp.isin(jnp.arange(x.shape[1]), suppressed)))
    if o.min_tokens:
        steps.append(functools.partial(min_tokens, count=o.min_tokens, end_ids=end_ids))
    if o.forced_bos is not None:
        steps.append(lambda x, text: forced(x, (text.written == 0) & (start == 1), o.forced_bos))
    if o.forced_eos is not None:
        steps.append(lambda x, text: forced(x, text.written == o.max_tokens - 1, o.forced_eos))
    if o.draws and o.scale != 1:
        steps.append(lambda x, text: temperature(x, o.scale))
    if o.draws and o.top_k:
        steps.append(lambda x, text: top_k(x, o.top_k))
    if o.draws and o.top_p < 1:
        steps.append(lambda x, text: top_p(x, o.top_p))
    if o.draws and o.min_p:
        steps.append(lambda x, text: min_p(x, o.min_p))
    return lambda logits_BV, text: functools.reduce(lambda x, step: step(x, text), steps, logits_BV)
