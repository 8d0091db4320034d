"""Long short-term memory, left to right or in both directions: what language models were before transformers.

The products with the inputs of all times are made at once; the loop over times holds the product with the last state
only. A state is reset where another segment begins, so that texts packed side by side do not know of each other.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.embeddings import Embeddings, Table
from cloze.models.heads import Body, with_heads
from cloze.models.initializers import initializer
from cloze.models.inputs import stream
from cloze.models.outputs import Outputs
from cloze.models.primitives import Linear


class Recurrent(nn.Module):
    """An LSTM over token embeddings, with the heads "lm" and "class".

    In both directions, each direction has layers of its own and reads nothing of the other; embeddings and vocabulary
    head are shared (Peters et al. 2018, section 3.1). With `feature_layers` the layer reads a mixture of the states of
    such a model, "elmo", in place of embeddings (section 3.2).

    Attributes:
        config: ModelConfig of architecture "recurrent" or "bidirectional_recurrent".
    """

    config: Any

    @nn.compact
    def __call__(self, batch, deterministic=True, collect=False):
        """Runs the model.

        Args:
            batch: `tokens` and `segments` int32 [B, T], see models.inputs; or `features` in their place.
            deterministic: False draws dropout from the "dropout" random stream.
            collect: also return the states between layers.

        Returns:
            Outputs. In both directions `hidden` [B, T, 2D] and `hidden_states` [layers + 1, B, T, 2D] hold the forward
            states before the backward ones, and `logits` are the forward direction's.
        """
        body = functools.partial(self._body, deterministic=deterministic, collect=collect)
        return with_heads(body, self.config, batch, deterministic)

    def _body(self, batch, deterministic, collect):
        """The Body of a batch with one text a row."""
        c = self.config
        inputs = stream(batch)
        table, cells = None, c.ffn
        if c.feature_layers:
            x_BTD, cells = self._features(batch), c.width
        else:
            padding = c.padded_vocab - c.vocab_size
            table = Table(c.padded_vocab, c.embedding_width, c, axes.VOCAB, padding, name="token")
            x_BTD = Embeddings(c, name="embeddings")(table, inputs, deterministic)
        names = ("forward",) if c.architecture == "recurrent" else ("forward", "backward")
        states = {
            name: Direction(c, cells, name == "backward", name=name)(x_BTD, inputs["segments"], deterministic)
            for name in names
        }
        last = {name: of_layers[-1] for name, of_layers in states.items()}
        outputs = Outputs(hidden=jnp.concatenate([*last.values()], axis=-1))
        if collect:
            layers = zip(*states.values(), strict=True)
            outputs = outputs.replace(hidden_states=jnp.stack([jnp.concatenate(x, axis=-1) for x in layers]))
        return Body(
            c, outputs, batch, deterministic, table, last["forward"], last.get("backward"), segments=inputs["segments"]
        )

    def _features(self, batch):
        """[B, T, D]: the layers of the model "elmo" in learned proportions, and a map from its two directions."""
        c = self.config
        below = dataclasses.replace(c, layers=c.feature_layers, feature_layers=0, recurrent_residual=True, heads_out=())
        states_LBTD = Recurrent(below, name="elmo")(batch, collect=True).hidden_states
        mixed_BTD = ScalarMix(name="mix")(states_LBTD)
        init = initializer(c, "head")
        return Linear(c.width, (axes.SMALL, axes.EMBED), init, True, c.dtype, name="projection")(mixed_BTD)


class ScalarMix(nn.Module):
    """gamma * the sum of layers weighted by a softmax (Peters et al. 2018, equation 1)."""

    @nn.compact
    def __call__(self, states_LBTD):
        """[B, T, D]."""
        named = lambda init: nn.with_logical_partitioning(init, (axes.SMALL,))  # noqa: E731
        weights_L = self.param("weights", named(nn.initializers.zeros), states_LBTD.shape[:1], jnp.float32)
        gamma = self.param("gamma", named(nn.initializers.ones), (1,), jnp.float32)
        mixture_L = (gamma * jax.nn.softmax(weights_L)).astype(states_LBTD.dtype)
        return jnp.einsum("L,LBTD->BTD", mixture_L, states_LBTD)


class Direction(nn.Module):
    """The layers of one direction.

    Attributes:
        config: ModelConfig.
        cells: size of a layer's memory; its output is projected to `width` where that differs.
        reverse: from right to left.
    """

    config: Any
    cells: int
    reverse: bool

    @nn.compact
    def __call__(self, x_BTD, segments_BT, deterministic):
        """The states [B, T, D] that each layer reads, and the last one's output: a list of layers + 1."""
        c = self.config
        weights = LayerWeights(c, self.cells, name="layers")()
        same_BT = continues(segments_BT, self.reverse)
        states = [x_BTD]
        for layer in range(c.layers):
            x_BTD = lstm({name: array[layer] for name, array in weights.items()}, states[-1], same_BT, self.reverse)
            x_BTD = dropout(self, x_BTD, c.dropout, deterministic)
            if c.recurrent_residual and layer > 0:
                x_BTD += states[-1]
            states.append(axes.constrain(x_BTD, axes.BATCH, axes.LENGTH, axes.ACT_EMBED))
        return states


class LayerWeights(nn.Module):
    """The parameters of all layers, stacked; four gates side by side: input, forget, candidate, output."""

    config: Any
    cells: int

    @nn.compact
    def __call__(self):
        """{"input", "state" [L, D, 4F], "bias" [L, 4F], and "projection" [L, F, D] where F is not D}, computed in
        `dtype`."""
        c = self.config
        gates = 4 * self.cells
        kernel = lambda role, *names: nn.with_logical_partitioning(  # noqa: E731
            _by_layer(initializer(c, role)), (axes.LAYERS, *names)
        )
        bias = nn.with_logical_partitioning(_forget_bias, (axes.LAYERS, axes.FFN))
        shape = (c.layers, c.width, gates)
        weights = {
            "input": self.param("input_kernel", kernel("ffn_in", axes.EMBED, axes.FFN), shape, jnp.float32),
            "state": self.param("state_kernel", kernel("ffn_in", axes.EMBED, axes.FFN), shape, jnp.float32),
            "bias": self.param("bias", bias, (c.layers, gates), jnp.float32),
        }
        if self.cells != c.width:
            shape = (c.layers, self.cells, c.width)
            init = kernel("ffn_output", axes.FFN, axes.EMBED)
            weights["projection"] = self.param("projection_kernel", init, shape, jnp.float32)
        return {name: array.astype(c.dtype) for name, array in weights.items()}


def _by_layer(init):
    """Draws each layer by itself, so that a fan is a layer's and not the stack's."""

    def draw(key, shape, dtype=jnp.float32):
        return jnp.stack([init(k, shape[1:], dtype) for k in jax.random.split(key, shape[0])])

    return draw


def _forget_bias(key, shape, dtype=jnp.float32):
    """Zeros, and 1 for forget gates, so that memory lasts from the start (Jozefowicz et al. 2015, section 2.2)."""
    del key
    cells = shape[-1] // 4
    return jnp.zeros(shape, dtype).at[..., cells : 2 * cells].set(1.0)


def continues(segments_BT, reverse):
    """f32 [B, T]: 1 where a place goes on with the segment of the place read before it, else 0; None: one segment."""
    if segments_BT is None:
        return None
    before_BT = (
        jnp.pad(segments_BT[:, 1:], ((0, 0), (0, 1))) if reverse else jnp.pad(segments_BT[:, :-1], ((0, 0), (1, 0)))
    )
    return ((before_BT == segments_BT) & (segments_BT > 0)).astype(jnp.float32)


def lstm(weights, x_BTD, same_BT, reverse):
    """One layer of an LSTM with forget gates (Gers et al. 2000), and a projection (Sak et al. 2014) where given.

    Args:
        weights: see `LayerWeights`, without the layers' axis.
        x_BTD: inputs; the loop computes in their dtype, memory and gates are f32.
        same_BT: f32, 0 where the state is reset, or None.
        reverse: read from the last place to the first.

    Returns:
        [B, T, D] outputs, each at its input's place.
    """
    rows, length, width = x_BTD.shape
    dtype = x_BTD.dtype
    gates = (x_BTD.reshape(-1, width) @ weights["input"] + weights["bias"]).reshape(rows, length, -1)
    constrain = axes.constrain if rows > 1 else lambda x, *names: x  # a single row is not cut
    gates_TBG = constrain(jnp.swapaxes(gates, 0, 1), None, axes.BATCH, axes.ACT_FFN)
    projection = weights.get("projection")

    def step(carry, inputs):
        state_BD, memory_BF = carry
        gates_BG, same_B = inputs
        if same_B is not None:
            state_BD = state_BD * same_B[:, None].astype(dtype)
            memory_BF = memory_BF * same_B[:, None]
        gates_BG = (gates_BG + state_BD @ weights["state"]).astype(jnp.float32)
        enter, keep, candidate, leave = jnp.split(gates_BG, 4, axis=-1)
        memory_BF = jax.nn.sigmoid(keep) * memory_BF + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        state_BD = (jax.nn.sigmoid(leave) * jnp.tanh(memory_BF)).astype(dtype)
        if projection is not None:
            state_BD = state_BD @ projection
        # Without this XLA cuts the state both ways on a mesh of rows and features, and its gradient comes out wrong.
        state_BD = constrain(state_BD, axes.BATCH, axes.ACT_EMBED)
        return (state_BD, memory_BF), state_BD

    cells = gates_TBG.shape[-1] // 4
    start = jnp.zeros((rows, weights["state"].shape[0]), dtype), jnp.zeros((rows, cells), jnp.float32)
    same_TB = None if same_BT is None else same_BT.T
    _, states_TBD = jax.lax.scan(step, start, (gates_TBG, same_TB), reverse=reverse)
    return jnp.swapaxes(states_TBD, 0, 1)
