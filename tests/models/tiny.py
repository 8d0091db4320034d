"""Tiny models and batches that the tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models

VOCAB = 97
SIZE = dict(vocab_size=VOCAB, vocab_multiple=8, width=32, heads=4, ffn=64, layers=3, dropout=0.0)
FAMILIES = {
    "bert": dict(family="bert", preset="base", max_positions=64, **SIZE),
    "gpt2": dict(family="gpt2", preset="small", max_positions=64, **SIZE),
    "t5": dict(family="t5", preset="small", decoder_layers=3, final_dropout=0.0, activation_dropout=0.0, **SIZE),
}


def config(family, **changes):
    return models.resolve({**FAMILIES[family], "attention_dropout": 0.0, **changes})


def batch(family, rows=4, length=12, seed=0):
    """Random token ids for a family, decoder included."""
    rng = np.random.default_rng(seed)
    made = {"tokens": rng.integers(5, VOCAB, (rows, length)).astype(np.int32)}
    if family == "t5":
        made["decoder_tokens"] = rng.integers(5, VOCAB, (rows, length - 3)).astype(np.int32)
    return made


@functools.cache
def parameters(family, **changes):
    """Parameters from N(0, 0.2), so that no norm, bias or bucket is at a value that hides it."""
    model = models.Transformer(config(family, **changes))
    made = jax.jit(lambda: meta.unbox(model.init(jax.random.key(0), batch(family))))()["params"]
    leaves, structure = jax.tree.flatten(made)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(structure, [jnp.asarray(rng.normal(0, 0.2, x.shape), jnp.float32) for x in leaves])


def apply(family, data, params=None, frozen=None, **changes):
    model = models.Transformer(config(family, **changes), **(frozen or {}))
    params = parameters(family) if params is None else params
    return jax.jit(lambda p, b: model.apply({"params": p}, b))(params, data)
