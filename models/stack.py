"""A stack of layers whose parameters are stacked along a leading `layers` axis.

The same stacked parameters run as one scanned loop, which compiles in the time of one layer, or unrolled. The
bottom `frozen` layers run forward only: nothing of theirs is kept for a backward pass.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.layers import Layer
from cloze.models.primitives import Norm

REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Stack(nn.Module):
    """Layers, then the final norm.

    Attributes:
        config: ModelConfig.
        layers: number of layers.
        frozen: number of bottom layers through which no gradient flows; everything below must be frozen, too.
    """

    config: Any
    layers: int
    frozen: int = 0

    @nn.compact
    def __call__(self, x_BTD, context, deterministic, collect=False, queries=None, enhance=None, cache=None):
        """Runs the stack.

        Args:
            x_BTD: input of the first layer.
            context: models.layers.Context.
            deterministic: whether there is no dropout.
            collect: also return the states between layers.
            queries: a second stream (states [B, P, D], its Context) whose keys and values are those of the first
                (XLNet's query stream), or None.
            enhance: absolute positions [B, T, D] for DeBERTa's enhanced mask decoder: the last layer is run
                `enhanced_decoder` times instead, from queries with positions added to the last layer's input
                (He et al. 2021, 3.2); or None.
            cache: models.cache.Cache, or None.

        Returns:
            (output [B, T, D], output of the second stream [B, P, D] or None, states, the next cache or None). States
            with `collect` are [layers + 1, B, T, D]: the input of the first layer and the output of each layer (before
            the final norm); else None.
        """
        c = self.config
        states = None
        if self.is_initializing():
            scanned = nn.scan(
                _ScannedLayer,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(nn.broadcast, nn.broadcast),
                length=1 if c.shared_layers else self.layers,
                metadata_params={nn.PARTITION_NAME: axes.LAYERS},
            )
            x_BTD, _ = scanned(c, name="layers")(x_BTD, context, deterministic)
            y_BPD = None if queries is None else queries[0]
        else:
            x_BTD, y_BPD, states, cache = self._run(x_BTD, context, deterministic, collect, queries, enhance, cache)
        if c.final_norm:
            norm = Norm(c, name="final_norm")
            x_BTD, y_BPD = norm(x_BTD), None if y_BPD is None else norm(y_BPD)
        x_BTD = dropout(self, x_BTD, c.final_dropout, deterministic)
        if y_BPD is not None:
            y_BPD = dropout(self, y_BPD, c.final_dropout, deterministic)
        return x_BTD, y_BPD, states, cache

    def _run(self, x_BTD, context, deterministic, collect, queries, enhance, cache):
        c = self.config
        params = self.variables["params"]["layers"]
        apply = self._layer(deterministic)
        y_BPD, query_context = (None, None) if queries is None else queries
        carry, states = (x_BTD, y_BPD, cache), [x_BTD[None]] if collect else []
        top = self.layers if enhance is None else self.layers - 1
        frozen = (top if self.frozen else 0) if c.shared_layers else min(self.frozen, top)
        for start, stop in ((0, frozen), (frozen, top)):
            if start == stop:
                continue
            part = jax.tree.map(lambda leaf, a=start, b=stop: leaf[0] if c.shared_layers else leaf[a:b], params)
            if stop <= frozen:
                part = jax.lax.stop_gradient(part)

            def body(carry, layer_params_and_index, part=part):
                (x, y, cache), (layer_params, index) = carry, layer_params_and_index
                layer_params = part if c.shared_layers else layer_params
                cache = None if cache is None else cache.replace(layer=index)
                next_x, cache = apply(layer_params, index, 0, x, context, cache=cache)
                next_y = None if y is None else apply(layer_params, index, 1, y, query_context, x)[0]
                return (next_x, next_y, cache), (next_x if collect else None)

            run = self._scan if c.scan else self._unroll
            body = body if stop <= frozen else self._remat(body)
            carry, part_states = run(body, carry, None if c.shared_layers else part, jnp.arange(start, stop))
            if stop <= frozen:
                carry = jax.lax.stop_gradient(carry)
            states.append(part_states)
        if enhance is not None:
            y_BTD = self._enhance(apply, params, carry[0], context, enhance)
            carry, states = (y_BTD, *carry[1:]), [*states, y_BTD[None]]
        x_BTD, y_BPD, cache = carry
        cache = None if cache is None else cache.advance(x_BTD.shape[1])
        return x_BTD, y_BPD, jnp.concatenate(states) if collect else None, cache

    def _layer(self, deterministic):
        """One layer as a function of (its parameters, its number, which stream, states, Context, source, cache)."""
        c, layer = self.config, Layer(self.config, parent=None)
        key = None if deterministic else self.make_rng("dropout")

        def apply(params, index, stream, x, context, source=None, cache=None):
            rngs = None if key is None else {"dropout": jax.random.fold_in(jax.random.fold_in(key, index), stream)}
            if c.window and c.window_layers == "odd":
                context = context.replace(visibility=context.visibility.replace(unwindowed=index % 2 == 0))
            return layer.apply({"params": params}, x, context, deterministic, source, cache, rngs=rngs)

        return apply

    def _enhance(self, apply, params, x_BTD, context, positions_BTD):
        """DeBERTa's enhanced mask decoder in place of the last layer, whose input is `x_BTD`."""
        last = jax.tree.map(lambda leaf: leaf[-1], params)
        if self.frozen == self.layers:
            last = jax.lax.stop_gradient(last)
        y_BTD = x_BTD + positions_BTD.astype(x_BTD.dtype)
        for turn in range(self.config.enhanced_decoder):
            y_BTD, _ = apply(last, self.layers - 1, turn, y_BTD, context, x_BTD)
        return y_BTD

    def _remat(self, body):
        if self.config.remat == "none":
            return body
        return jax.checkpoint(body, policy=REMAT_POLICIES[self.config.remat], prevent_cse=not self.config.scan)

    def _scan(self, body, carry, params, indices):
        return jax.lax.scan(body, carry, (params, indices))

    def _unroll(self, body, carry, params, indices):
        count = len(indices)
        # Split, not indexing: its transpose is one concatenation instead of a sum of padded slices.
        pieces = jax.tree.map(lambda leaf: jax.lax.split(leaf, [1] * count), params)
        states = []
        for i in range(count):
            one = jax.tree.map(
                lambda leaf, i=i: leaf[i][0], pieces, is_leaf=lambda leaf: isinstance(leaf, (list, tuple))
            )
            carry, state = body(carry, (one, indices[i]))
            states.append(state)
        return carry, (None if states[0] is None else jnp.stack(states))


class _ScannedLayer(nn.Module):
    """A layer in the shape nn.scan wants; used to make parameters, never to run."""

    config: Any

    def setup(self):
        self.layer = Layer(self.config)
        nn.share_scope(self, self.layer)

    def __call__(self, x_BTD, context, deterministic):
        return self.layer(x_BTD, context, deterministic)
