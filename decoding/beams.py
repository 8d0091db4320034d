"""Beam search: the most probable texts, as far as a few that go on side by side can find them.

Shapes: P prompts, N beams of each, C candidates for the next ones, S places of a text.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from cloze.decoding import rows, transforms
from cloze.decoding.cached import prefill, step

NEVER = -1e9  # the score of what has not been found


@struct.dataclass
class State:
    """What a search has found.

    Attributes:
        number: int32 scalar, tokens written in each beam.
        start: int32 [P], tokens of each prompt.
        tokens: int32 [P, N, S], the beams that go on.
        scores: f32 [P, N], their log-probabilities.
        ended_tokens: int32 [P, N, S], the best texts that have ended, the best first.
        ended_scores: f32 [P, N], their log-probabilities over their normalised lengths; `NEVER` where there is none.
        ended_sizes: int32 [P, N], tokens written in each, its end included.
        open: bool [P], whether the search of a prompt goes on.
        cache: models.cache.Cache of P * N rows, with all but the last tokens.
    """

    number: Any
    start: Any
    tokens: Any
    scores: Any
    ended_tokens: Any
    ended_scores: Any
    ended_sizes: Any
    open: Any
    cache: Any


@functools.partial(jax.jit, static_argnames=("model", "options", "end_ids", "pad_id", "prefix"))
def search(model, params, batch, prompt_lengths, valid_V, *, options, end_ids, pad_id, prefix="causal"):
    """Continues every prompt with its `options.num_samples` best texts.

    As transformers searches: of the candidates for the next beams, twice as many are kept as there are beams (more with
    several ends), so that enough of them go on; a text that ends counts if it is among the first N.

    Args:
        as of `decoding.write`.

    Returns:
        (tokens int32 [P * num_samples, max_tokens], lengths int32 [P * num_samples], scores f32 [P * num_samples]).
    """
    prompts = batch["decoder_tokens" if model.config.architecture == "encoder_decoder" else "tokens"]
    size, longest = prompts.shape
    count, most, end_ids = options.beams, options.max_tokens, tuple(end_ids)
    logits_PV, cache = prefill(model, params, batch, prompt_lengths, longest + most - 1, prefix=prefix)
    start = jnp.asarray(prompt_lengths, jnp.int32)
    tokens = jnp.repeat(rows.laid_out(prompts, start, most, pad_id)[:, None], count, axis=1)
    first = jnp.where(jnp.arange(count) == 0, 0.0, NEVER)  # all beams are the same until there is a token
    state = State(
        number=jnp.zeros((), jnp.int32),
        start=start,
        tokens=tokens,
        scores=jnp.broadcast_to(first, (size, count)).astype(jnp.float32),
        ended_tokens=tokens,
        ended_scores=jnp.full((size, count), NEVER, jnp.float32),
        ended_sizes=jnp.zeros((size, count), jnp.int32),
        open=start > 0,
        cache=rows.repeated(cache, count),
    )
    grow = functools.partial(_grow, valid_V=valid_V, options=options, end_ids=end_ids)

    def more(state):
        last = rows.at(_flat(state.tokens), jnp.repeat(state.start + state.number - 1, count))
        logits, cache = step(model, params, last, state.cache)
        return grow(state.replace(cache=cache), logits)

    state = grow(state, jnp.repeat(logits_PV, count, axis=0))
    state = jax.lax.while_loop(lambda state: (state.number < most) & jnp.any(state.open), more, state)
    return _best(state, options, end_ids, pad_id)


def _grow(state, logits, *, valid_V, options, end_ids):
    """The State with one more token of each beam; `logits` f32 [P * N, V]."""
    (size, count, _), vocab = state.tokens.shape, logits.shape[-1]
    kept, number = max(2, 1 + len(end_ids)) * count, state.number + 1
    counts_P = state.start + state.number
    start = jnp.repeat(state.start, count)
    text = transforms.Text(_flat(state.tokens), jnp.repeat(counts_P, count), state.number)
    log_probs = transforms.chain(options, valid_V, end_ids, start)(jax.nn.log_softmax(logits), text)
    every_PC = (log_probs.reshape(size, count, vocab) + state.scores[:, :, None]).reshape(size, -1)
    scores_PC, places_PC = jax.lax.top_k(every_PC, min(kept, every_PC.shape[1]))
    of_PC, token_PC = places_PC // vocab, (places_PC % vocab).astype(jnp.int32)
    parents_PCS = rows.chosen(state.tokens, of_PC)
    places = jnp.repeat(counts_P, of_PC.shape[1])
    tokens_PCS = rows.put(_flat(parents_PCS), places, token_PC.reshape(-1)).reshape(parents_PCS.shape)
    over_PC = jnp.isin(token_PC, jnp.array(end_ids, jnp.int32)) | (number >= options.max_tokens)
    state = _end(state, tokens_PCS, scores_PC, over_PC, number, options)

    running_PC = jnp.where(over_PC, scores_PC + NEVER, scores_PC)
    scores_PN, chosen_PN = jax.lax.top_k(running_PC, count)
    of_PN = jnp.take_along_axis(of_PC, chosen_PN, axis=1)
    state = state.replace(
        number=number,
        tokens=rows.chosen(tokens_PCS, chosen_PN),
        scores=scores_PN,
        cache=state.cache.take(of_PN),
    )
    return state.replace(open=state.open & _may_improve(state, options))


def _end(state, tokens_PCS, scores_PC, over_PC, number, options):
    """The State with the candidates that end among its ended texts, where these are worse."""
    count = options.beams
    among_PC = over_PC & (jnp.arange(over_PC.shape[1]) < count) & state.open[:, None]
    ended_PC = jnp.where(among_PC, scores_PC / _length(number, options), NEVER)
    scores, tokens = (
        jnp.concatenate(both, axis=1) for both in ((state.ended_scores, ended_PC), (state.ended_tokens, tokens_PCS))
    )
    sizes = jnp.concatenate([state.ended_sizes, jnp.where(among_PC, number, 0)], axis=1)
    scores_PN, chosen_PN = jax.lax.top_k(scores, count)
    return state.replace(
        ended_scores=scores_PN,
        ended_tokens=rows.chosen(tokens, chosen_PN),
        ended_sizes=jnp.take_along_axis(sizes, chosen_PN, axis=1),
    )


def _may_improve(state, options):
    """bool [P], whether a beam may still become one of the best texts, as `options.early_stopping` judges."""
    full_P = jnp.all(state.ended_sizes > 0, axis=1)
    stops_P = full_P & (options.early_stopping == "full")
    # A log-probability only falls; over a greater length it is less far below 0, if the penalty is positive.
    longest = options.early_stopping == "exact" and options.length_penalty > 0
    best_P = state.scores[:, 0] / _length(options.max_tokens if longest else state.number, options)
    worst_P = jnp.where(full_P, state.ended_scores.min(axis=1), NEVER)
    return ~stops_P & (best_P > worst_P)


def _length(number, options):
    """What a log-probability of `number` tokens is divided by (Wu et al. 2016, section 7)."""
    length = (5.0 + number) / 6.0 if options.length_normalization == "gnmt" else jnp.asarray(number, jnp.float32)
    return length**options.length_penalty


def _best(state, options, end_ids, pad_id):
    """The best ended texts of each prompt, see `search`; those of filler are empty."""
    asked, most = options.num_samples, options.max_tokens
    tokens, sizes, scores = (x[:, :asked] for x in (state.ended_tokens, state.ended_sizes, state.ended_scores))
    written, sizes = rows.behind(_flat(tokens), jnp.repeat(state.start, asked), most), sizes.reshape(-1)
    ends = jnp.isin(rows.at(written, jnp.maximum(sizes - 1, 0)), jnp.array(end_ids, jnp.int32)) & (sizes > 0)
    written = jnp.where(jnp.arange(most) < sizes[:, None], written, pad_id)
    return written, sizes - ends, scores.reshape(-1)


def _flat(tokens_PNS):
    """The texts of all prompts, [P * N, S]."""
    return tokens_PNS.reshape(-1, tokens_PNS.shape[-1])
