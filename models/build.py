"""From a ModelConfig to the module that computes it, and what its parameters will be."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.models import names
from cloze.models.heads import HEADS
from cloze.models.recurrent import Recurrent
from cloze.models.transformer import Transformer
from cloze.models.word_vectors import WordVectors

BEFORE_TRANSFORMERS = {
    "recurrent": Recurrent,
    "bidirectional_recurrent": Recurrent,
    "word_vectors": WordVectors,
}


def build(config, frozen_encoder=0, frozen_decoder=0):
    """The module of a configuration.

    Args:
        config: ModelConfig.
        frozen_encoder, frozen_decoder: bottom layers of each stack of a transformer that run without a backward pass.

    Returns:
        A module with `init(key, batch)` and `apply({"params": tree}, batch, deterministic, rngs=...)`, which gives
        `models.Outputs`.
    """
    if config.architecture in BEFORE_TRANSFORMERS:
        return BEFORE_TRANSFORMERS[config.architecture](config)
    return Transformer(config, frozen_encoder, frozen_decoder)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters that a model will have. They are shared by all who ask for them: do not change them.

    Attributes:
        shapes: {name: shape}.
        axis_names: {name: logical names of its axes}.
    """

    shapes: dict
    axis_names: dict


@functools.lru_cache(maxsize=128)
def parameters(model):
    """The Parameters of a module, composite or adapted model, without making them."""
    if not isinstance(model, nn.Module):
        return model.parameters()
    return parameters_of(abstract(model))


def parameters_of(tree):
    """The Parameters of a tree of boxed arrays, as `init` makes it."""
    flat = names.flatten(tree)
    boxed = {n: leaf if isinstance(leaf, nn.Partitioned) else nn.Partitioned(leaf, ()) for n, leaf in flat.items()}
    return Parameters(
        {n: tuple(leaf.value.shape) for n, leaf in boxed.items()}, {n: tuple(leaf.names) for n, leaf in boxed.items()}
    )


@functools.lru_cache(maxsize=128)
def abstract(module):
    """The tree of parameters that a module makes, boxed, of jax.ShapeDtypeStruct."""
    return jax.eval_shape(lambda: module.init(jax.random.key(0), example_batch()))["params"]


def example_batch():
    """Arrays that every family and every head can be traced with."""
    one = jnp.zeros((1, 8), jnp.int32)
    places = ["prediction_positions", *(name for head in HEADS.values() for name in head.reads)]
    return {"tokens": one, "decoder_tokens": one, **dict.fromkeys(places, one[:, :1])}
