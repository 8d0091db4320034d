"""Tiny models of every kind that writes, and the rows that the tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models

VOCAB, ROWS, PROMPT, WRITTEN, MEMORY = 61, 4, 6, 5, 7
PROMPT_LENGTHS = np.array([6, 1, 4, 2], np.int32)
MEMORY_LENGTHS = np.array([3, 7, 1, 5], np.int32)


@functools.cache
def build(family, preset, **changes):
    """(model, parameters from N(0, 0.4), embeddings and factors of norms larger, so that nothing is nearly uniform)."""
    full = models.resolve(dict(family=family, preset=preset))
    small = dict(layers=2, width=16, heads=4, ffn=24, vocab_size=VOCAB, vocab_multiple=8)
    small |= dict(decoder_layers=2) if full.decoder_layers else {}
    small |= dict(kv_heads=2) if full.kv_heads != full.heads else {}
    small |= dict(head_dim=6) if full.head_dim != full.width // full.heads else {}
    small |= dict(max_positions=PROMPT + WRITTEN + 2) if full.max_positions else {}
    model = models.build(models.resolve(dict(family=family, preset=preset, **small, **changes)))
    shapes = meta.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), models.example_batch())["params"]))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        return jnp.asarray(rng.normal(kind == "scale", 1 if kind == "embedding" else 0.4, leaf.shape), jnp.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def batch(config, seed=0):
    """Prompts of PROMPT_LENGTHS; behind them lies what must not be seen. With an encoder, rows of MEMORY_LENGTHS."""
    rng = np.random.default_rng(seed)

    def ids(length):
        return rng.integers(1, VOCAB, (ROWS, length)).astype(np.int32)

    if config.architecture == "decoder":
        return {"tokens": ids(PROMPT)}
    segments = (np.arange(MEMORY) < MEMORY_LENGTHS[:, None]).astype(np.int32)
    return {"tokens": ids(MEMORY), "segments": segments, "decoder_tokens": ids(PROMPT)}


def whole(config, given, written, prefix="causal"):
    """The batch of an ordinary pass over prompts and what is written behind each, padded at the right."""
    key = "tokens" if config.architecture == "decoder" else "decoder_tokens"
    prompts = np.asarray(given[key])
    tokens = np.concatenate([prompts, np.zeros_like(written)], axis=1)
    for row, length in enumerate(PROMPT_LENGTHS):
        tokens[row, length : length + written.shape[1]] = written[row]
    made = {**given, key: tokens}
    if prefix == "full":
        place = np.arange(tokens.shape[1], dtype=np.int32)
        made["ranks"] = np.where(place < PROMPT_LENGTHS[:, None], 0, place).astype(np.int32)
    return made
