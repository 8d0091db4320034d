"""A stack of layers whose parameters are stacked along a leading `layers` axis.

The same stacked parameters run as one scanned loop, which compiles in the time of one layer, or unrolled. The
bottom `frozen` layers run forward only: nothing of theirs is kept for a backward pass.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import axes
from models.dropout import dropout
from models.layers import Layer, Norm

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
    def __call__(self, x_BTD, context, deterministic, collect=False):
        """Runs the stack.

        Returns:
            The output [B, T, D], and with `collect` the states [layers + 1, B, T, D]: the input of the first
            layer and the output of each layer (before the final norm); else None.
        """
        c = self.config
        if self.is_initializing():
            scanned = nn.scan(
                _ScannedLayer,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(nn.broadcast, nn.broadcast),
                length=self.layers,
                metadata_params={nn.PARTITION_NAME: axes.LAYERS},
            )
            x_BTD, _ = scanned(c, name="layers")(x_BTD, context, deterministic)
            states = None
        else:
            x_BTD, states = self._run(x_BTD, context, deterministic, collect)
        if c.final_norm:
            x_BTD = Norm(c, name="final_norm")(x_BTD)
        return dropout(self, x_BTD, c.final_dropout, deterministic), states

    def _run(self, x_BTD, context, deterministic, collect):
        params = self.variables["params"]["layers"]
        key = None if deterministic else self.make_rng("dropout")
        layer = Layer(self.config, parent=None)

        def body(x, layer_params_and_index):
            layer_params, index = layer_params_and_index
            rngs = None if key is None else {"dropout": jax.random.fold_in(key, index)}
            y = layer.apply({"params": layer_params}, x, context, deterministic, rngs=rngs)
            return y, (y if collect else None)

        states = [x_BTD[None]] if collect else []
        for start, stop in ((0, self.frozen), (self.frozen, self.layers)):
            if start == stop:
                continue
            frozen = stop <= self.frozen
            part = jax.tree.map(lambda leaf, a=start, b=stop: leaf[a:b], params)
            if frozen:
                part = jax.lax.stop_gradient(part)
            run = self._scan if self.config.scan else self._unroll
            x_BTD, part_states = run(body if frozen else self._remat(body), x_BTD, part, jnp.arange(start, stop))
            if frozen:
                x_BTD = jax.lax.stop_gradient(x_BTD)
            states.append(part_states)
        return x_BTD, jnp.concatenate(states) if collect else None

    def _remat(self, body):
        if self.config.remat == "none":
            return body
        return jax.checkpoint(body, policy=REMAT_POLICIES[self.config.remat], prevent_cse=not self.config.scan)

    def _scan(self, body, x_BTD, params, indices):
        return jax.lax.scan(body, x_BTD, (params, indices))

    def _unroll(self, body, x_BTD, params, indices):
        count = len(indices)
        # Split, not indexing: its transpose is one concatenation instead of a sum of padded slices.
        pieces = jax.tree.map(lambda leaf: jax.lax.split(leaf, [1] * count), params)
        states = []
        for i in range(count):
            one = jax.tree.map(
                lambda leaf, i=i: leaf[i][0], pieces, is_leaf=lambda leaf: isinstance(leaf, (list, tuple))
            )
            x_BTD, state = body(x_BTD, (one, indices[i]))
            states.append(state)
        return x_BTD, (None if states[0] is None else jnp.stack(states))


class _ScannedLayer(nn.Module):
    """A layer in the shape nn.scan wants; used to make parameters, never to run."""

    config: Any

    def setup(self):
        self.layer = Layer(self.config)
        nn.share_scope(self, self.layer)

    def __call__(self, x_BTD, context, deterministic):
        return self.layer(x_BTD, context, deterministic), None
