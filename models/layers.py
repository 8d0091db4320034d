"""The parts of a block: attention and feed-forward, and the block itself."""

import dataclasses
from typing import Any

import flax.linen as nn
from flax import struct

from cloze.models import adapters, axes
from cloze.models.attention import attention
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer
from cloze.models.positions import Scheme
from cloze.models.primitives import ACTIVATIONS, Linear, Norm


@struct.dataclass
class Context:
    """What all layers with the same block spec share.

    Attributes:
        visibility: who sees whom within the stack.
        shared: what the position scheme shares, see models.positions.
        memory: [B, S, D] output of the encoder for cross-attention; None: there is none, or a cache holds its keys.
        memory_visibility: who sees whom across; None: there is no cross-attention.
    """

    visibility: Any
    shared: Any = None
    memory: Any = None
    memory_visibility: Any = None


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2.2), with grouped key/value heads.

    Attributes:
        config: ModelConfig.
        spec: models.config.BlockSpec.
        prefix: whether learned keys and values stand in front, see models.adapters.
    """

    config: Any
    spec: Any
    prefix: bool = False

    @nn.compact
    def __call__(self, x_BTD, source_BSD, visibility, deterministic, shared=None, cache=None):
        """Queries of `x` to keys and values of `source`; the rest is as in `Context`.

        With a models.cache.Cache, they go there too, and all of that cache is seen once it has been started; without a
        source, only what is already there. Returns ([B, T, D], the next cache or None).
        """
        c, spec = self.config, self.spec

        def linear(name, heads, role, axis):
            init = initializer(c, role)
            use_bias = c.projection_bias(name[0])
            return Linear(heads * c.head_dim, (axes.EMBED, axis), init, use_bias, c.dtype, name=name)

        projections = {
            "query": linear("query", c.heads, "query", axes.HEADS),
            "key": linear("key", c.kv_heads, "key_value", axes.KV_HEADS),
            "value": linear("value", c.kv_heads, "key_value", axes.KV_HEADS),
        }

        def project(name, source):
            y = projections[name](source)
            return y.reshape(*y.shape[:-1], -1, c.head_dim)

        def heads(name, source):
            y_BTHE = axes.constrain(project(name, source), axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None)
            return self._normalise(name, y_BTHE)

        q_BTHE, k_BSKE, v_BSKE = heads("query", x_BTD), None, None
        if source_BSD is not None:
            k_BSKE, v_BSKE = heads("key", source_BSD), heads("value", source_BSD)
        q_BTHE, k_BSKE = spec.positions.turn(q_BTHE, k_BSKE, shared)
        if cache is not None:
            cache = cache if source_BSD is None else cache.write(self.name, k_BSKE, v_BSKE)
            k_BSKE, v_BSKE = cache.read(self.name) if cache.started else (k_BSKE, v_BSKE)
        q_BTHE, bias, scale = spec.positions.score(c, q_BTHE, k_BSKE, shared, spec.scale, project, deterministic)
        if self.prefix and not c.prefix_gated:
            own_PKE = adapters.prefix(self, c)
            k_BSKE, v_BSKE, visibility, bias = adapters.put_in_front(own_PKE, k_BSKE, v_BSKE, visibility, bias)
        out_BTHE = attention(
            q_BTHE,
            k_BSKE,
            v_BSKE,
            visibility,
            bias=bias,
            scale=scale,
            softcap=spec.softcap,
            dropout=c.attention_dropout,
            key=None if deterministic or not c.attention_dropout else self.make_rng("dropout"),
            # While parameters are made, only shapes count, and those are of an example.
            backend="einsum" if self.is_mutable_collection("params") else c.attention_backend,
        )
        if self.prefix and c.prefix_gated:
            out_BTHE += adapters.gated_prefix(self, c, q_BTHE, scale)
        out = out_BTHE.reshape(*out_BTHE.shape[:2], c.heads * c.head_dim)
        init = initializer(c, "attention_output")
        output = Linear(c.width, (axes.HEADS, axes.EMBED), init, c.projection_bias("o"), c.dtype, name="output")
        return output(out), cache

    def _normalise(self, name, y_BTHE):
        """Queries or keys after their norm, if they have one: of each head by itself, or of all together."""
        kind = self.config.query_key_norm
        if kind == "none" or name == "value":
            return y_BTHE
        if kind == "head":
            return Norm(self.config, axes.SMALL, name=f"{name}_norm")(y_BTHE)
        axis = axes.HEADS if name == "query" else axes.KV_HEADS
        y = Norm(self.config, axis, name=f"{name}_norm")(y_BTHE.reshape(*y_BTHE.shape[:-2], -1))
        return y.reshape(y_BTHE.shape)


class FeedForward(nn.Module):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) when gated (Shazeer 2020)."""

    config: Any

    @nn.compact
    def __call__(self, x_BTD, deterministic):
        c = self.config

        def expand(name):
            init = initializer(c, "ffn_in")
            y = Linear(c.ffn, (axes.EMBED, axes.FFN), init, c.use_bias, c.dtype, name=name)(x_BTD)
            return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_FFN)

        act = ACTIVATIONS[c.activation]
        h_BTF = act(expand("gate")) * expand("up") if c.gated else act(expand("up"))
        h_BTF = dropout(self, h_BTF, c.activation_dropout, deterministic)
        init = initializer(c, "ffn_output")
        return Linear(c.width, (axes.FFN, axes.EMBED), init, c.use_bias, c.dtype, name="down")(h_BTF)


class Layer(nn.Module):
    """One transformer block: self-attention, cross-attention if there is a memory, feed-forward.

    Each sublayer has a residual connection. Where its norms are is `norm_position`, see models.config.

    Attributes:
        config: ModelConfig.
        spec: models.config.BlockSpec.
    """

    config: Any
    spec: Any

    @nn.compact
    def __call__(self, x_BTD, context, deterministic, source_BSD=None, cache=None):
        """([B, T, D], the next cache or None).

        Args:
            x_BTD: the states.
            context: Context.
            deterministic: whether there is no dropout.
            source_BSD: states that keys and values of self-attention are made of; None: those of `x` itself.
            cache: models.cache.Cache whose turn is at this layer, or None.
        """
        c, spec = self.config, self.spec

        def self_attention(x):
            nonlocal cache
            module = Attention(c, spec, c.prefix_length > 0, name="attention")
            source = x if source_BSD is None else source_BSD
            y, cache = module(x, source, context.visibility, deterministic, context.shared, cache)
            return y

        def cross_attention(x):
            nonlocal cache
            module = Attention(c, dataclasses.replace(spec, positions=Scheme()), name="cross_attention")
            y, cache = module(x, context.memory, context.memory_visibility, deterministic, cache=cache)
            return y

        sublayers = {"attention": self_attention, "cross_attention": cross_attention}
        sublayers["ffn"] = lambda x: FeedForward(c, name="ffn")(x, deterministic)
        if context.memory_visibility is None:
            del sublayers["cross_attention"]
        y_BTD = x_BTD
        for name, function in sublayers.items():
            source = x_BTD if c.norm_position == "parallel" else y_BTD
            y_BTD = y_BTD + self._branch(source, name, function, deterministic)
            if c.norm_position == "post":
                y_BTD = Norm(c, name=f"{name}_norm")(y_BTD)
            y_BTD = axes.constrain(y_BTD, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)
        return y_BTD, cache

    def _branch(self, x_BTD, name, function, deterministic):
        """What a sublayer adds to the residual stream."""
        c = self.config
        if c.norm_position in ("pre", "both", "parallel") and (name != "attention" or self.spec.attention_norm):
            x_BTD = Norm(c, name=f"{name}_norm")(x_BTD)
        y_BTD = function(x_BTD)
        if c.norm_position in ("both", "output"):
            after = "output_norm" if c.norm_position == "both" else "norm"
            y_BTD = Norm(c, name=f"{name}_{after}")(y_BTD)
        y_BTD = dropout(self, y_BTD, c.dropout, deterministic)
        return adapters.Adapter(c, name=f"{name}_adapter")(y_BTD) if c.adapter_size else y_BTD
