"""The parts of a block: attention and feed-forward, and the block itself."""

from typing import Any

import flax.linen as nn
from flax import struct

from cloze.models import adapters, axes
from cloze.models.attention import attention
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer
from cloze.models.positions import rotary_frequencies, rotate
from cloze.models.primitives import ACTIVATIONS, Linear, Norm
from cloze.models.relative import DisentangledScores, TransformerXLScores


@struct.dataclass
class Context:
    """What all layers of a stack share.

    Attributes:
        visibility: who sees whom within the stack.
        bias: f32 [1 or B, H, T, S] added to self-attention scores, or None.
        positions: int32 [B or 1, T], for rotary positions.
        distances: models.relative.Distances between queries and keys, or None.
        memory: [B, S, D] output of the encoder for cross-attention; None: there is none, or a cache holds its keys.
        memory_visibility: who sees whom across; None: there is no cross-attention.
    """

    visibility: Any
    bias: Any = None
    positions: Any = None
    distances: Any = None
    memory: Any = None
    memory_visibility: Any = None


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2.2), with grouped key/value heads.

    Attributes:
        config: ModelConfig.
        prefix: whether learned keys and values stand in front, see models.adapters.
    """

    config: Any
    prefix: bool = False

    @nn.compact
    def __call__(
        self, x_BTD, source_BSD, visibility, deterministic, bias=None, positions=None, distances=None, cache=None
    ):
        """Queries of `x` to keys and values of `source`; the rest is as in `Context`.

        With a models.cache.Cache, they go there too, and all of that cache is seen once it has been started; without a
        source, only what is already there. Returns ([B, T, D], the next cache or None).
        """
        c = self.config

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
            return axes.constrain(project(name, source), axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None)

        q_BTHE = heads("query", x_BTD)
        if source_BSD is not None:
            k_BSKE, v_BSKE = heads("key", source_BSD), heads("value", source_BSD)
        scale = c.head_dim**-0.5 if c.scale_attention else 1.0
        if c.positions == "rotary" and positions is not None:
            frequencies = rotary_frequencies(c.head_dim, c.rope_theta, c.rope_scaling)
            q_BTHE, k_BSKE = rotate(q_BTHE, positions, frequencies), rotate(k_BSKE, positions, frequencies)
        if cache is not None:
            cache = cache if source_BSD is None else cache.write(self.name, k_BSKE, v_BSKE)
            k_BSKE, v_BSKE = cache.read(self.name) if cache.started else (k_BSKE, v_BSKE)
        if distances is not None:
            kind = DisentangledScores if c.positions == "disentangled" else TransformerXLScores
            scores = kind(c, name="relative")
            q_BTHE, bias, scale = scores(q_BTHE, k_BSKE, distances, project, deterministic)
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
            dropout=c.attention_dropout,
            key=None if deterministic or not c.attention_dropout else self.make_rng("dropout"),
            backend=c.attention_backend,
        )
        if self.prefix and c.prefix_gated:
            out_BTHE += adapters.gated_prefix(self, c, q_BTHE, scale)
        out = out_BTHE.reshape(*out_BTHE.shape[:2], c.heads * c.head_dim)
        init = initializer(c, "attention_output")
        output = Linear(c.width, (axes.HEADS, axes.EMBED), init, c.projection_bias("o"), c.dtype, name="output")
        return output(out), cache


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

    Each sublayer has a residual connection; the norm comes before the sublayer (pre) or after the sum (post).
    """

    config: Any

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
        c = self.config

        def sublayer(x, name, function):
            norm = Norm(c, name=f"{name}_norm")
            y = function(norm(x) if c.norm_position == "pre" else x)
            y = dropout(self, y, c.dropout, deterministic)
            y = x + (adapters.Adapter(c, name=f"{name}_adapter")(y) if c.adapter_size else y)
            y = y if c.norm_position == "pre" else norm(y)
            return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)

        def self_attention(x):
            nonlocal cache
            module = Attention(c, c.prefix_length > 0, name="attention")
            source = x if source_BSD is None else source_BSD
            kinds = (context.bias, context.positions, context.distances)
            y, cache = module(x, source, context.visibility, deterministic, *kinds, cache)
            return y

        def cross_attention(x):
            nonlocal cache
            module = Attention(c, name="cross_attention")
            y, cache = module(x, context.memory, context.memory_visibility, deterministic, cache=cache)
            return y

        x_BTD = sublayer(x_BTD, "attention", self_attention)
        if context.memory_visibility is not None:
            x_BTD = sublayer(x_BTD, "cross_attention", cross_attention)
        return sublayer(x_BTD, "ffn", lambda x: FeedForward(c, name="ffn")(x, deterministic)), cache
