"""Runs that were never trained: random parameters of tiny models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cloze import models
from cloze.configs.base import get_base
from cloze.training import restore

LENGTH = 24


def trained(tokenizer, heads, num_labels=3, family="bert", objective="masked_lm", **changes):
    """A run that was never trained: random parameters of a model with the heads."""
    config = get_base()
    config.objective.name, config.data.sequence_length = objective, LENGTH
    small = dict(layers=1, width=16, heads=2, ffn=16, vocab_size=tokenizer.vocab_size, vocab_multiple=1)
    small["preset"] = "base" if family in ("bert", "bart") else "small"
    config.model.update(family=family, **small | changes)
    made = dataclasses.replace(models.resolve(config.model), heads_out=heads, num_labels=num_labels)
    model = models.build(made)
    shapes = meta.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), models.example_batch())["params"]))
    random = np.random.default_rng(0)

    def draw(path, leaf):  # biases are small, lest all answers are alike
        return jnp.asarray(random.normal(0, 0.05 if path[-1].key == "bias" else 0.7, leaf.shape), jnp.float32)

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    return restore.Trained(config, model, params, tokenizer, step=0)
