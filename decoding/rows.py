"""Rows of texts that grow: prompts of different lengths, each with what is written directly behind it.

Shapes: B rows, T places of the longest prompt, S places of prompt and text. Nothing here is an index of rows, for which
the devices of a mesh would exchange what they hold.
"""

import functools

import jax
import jax.numpy as jnp


def laid_out(prompts_BT, lengths_B, more, pad_id):
    """int32 [B, T + more]: prompts with room behind them, in which there is padding."""
    kept_BT = jnp.where(jnp.arange(prompts_BT.shape[1]) < jnp.asarray(lengths_B)[:, None], prompts_BT, pad_id)
    return jnp.pad(kept_BT, ((0, 0), (0, more)), constant_values=pad_id).astype(jnp.int32)


def repeated(tree, count):
    """Arrays with each row `count` times, one after the other; what has no rows stays."""
    return jax.tree.map(lambda x: jnp.repeat(x, count, axis=0) if x.ndim else x, tree)


@jax.vmap
def put(tokens_S, place, token):
    """Rows [B, S] with a token [B] at a place [B] of each."""
    return tokens_S.at[place].set(token)


@jax.vmap
def at(tokens_S, place):
    """[B], the token at a place [B] of each row [B, S]."""
    return tokens_S[place]


@jax.vmap
def chosen(array_C, which_N):
    """[P, N, ...]: of each prompt's C texts [P, C, ...], those that are numbered [P, N]."""
    return array_C[which_N]


@functools.partial(jax.jit, static_argnames="count")
def behind(tokens_BS, start_B, count):
    """int32 [B, count], what stands behind each prompt."""
    return jax.vmap(lambda tokens_S, start: jax.lax.dynamic_slice(tokens_S, (start,), (count,)))(tokens_BS, start_B)
