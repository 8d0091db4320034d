"""The parts of a block: linear maps, norms, attention, feed-forward, and the block itself."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from models import axes
from models.attention import attention
from models.dropout import dropout
from models.initializers import initializer
from models.positions import rotate

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class Linear(nn.Module):
    """y = x @ kernel + bias, with the kernel [in, out] named by logical axes.

    Attributes:
        features: size of the output.
        names: logical names of the kernel's two axes.
        init: initializer of the kernel.
        use_bias: whether there is a bias.
        dtype: compute dtype; parameters are f32.
    """

    features: int
    names: tuple[str, str]
    init: Any
    use_bias: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        kernel_init = nn.with_logical_partitioning(self.init, self.names)
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features), jnp.float32)
        y = _product(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.names[1:])
            y += self.param("bias", bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y


def _product(x, kernel):
    """x @ kernel. XLA's CPU backend differentiates a product of matrices a third faster than one of [B, T, D]."""
    if jax.default_backend() != "cpu":
        return x @ kernel
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


class Norm(nn.Module):
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019), with statistics in f32."""

    config: Any

    @nn.compact
    def __call__(self, x):
        c = self.config
        named = lambda init: nn.with_logical_partitioning(init, (axes.EMBED,))  # noqa: E731
        x = x.astype(jnp.float32)
        scale = self.param("scale", named(nn.initializers.ones), x.shape[-1:], jnp.float32)
        if c.norm == "rms":
            y = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + c.norm_epsilon) * scale
            return y.astype(c.dtype)
        bias = self.param("bias", named(nn.initializers.zeros), x.shape[-1:], jnp.float32)
        centred = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + c.norm_epsilon) * scale + bias).astype(c.dtype)


@struct.dataclass
class Context:
    """What all layers of a stack share.

    Attributes:
        visibility: who sees whom within the stack.
        bias: f32 [1, H, T, T] added to self-attention scores, or None.
        positions: int32 [B or 1, T], for rotary positions.
        memory: [B, S, D] output of the encoder for cross-attention, or None.
        memory_visibility: who sees whom across.
    """

    visibility: Any
    bias: Any = None
    positions: Any = None
    memory: Any = None
    memory_visibility: Any = None


class Attention(nn.Module):
    """Multi-head attention from `x` to `memory` (Vaswani et al. 2017, 3.2.2), with grouped key/value heads."""

    config: Any

    @nn.compact
    def __call__(self, x_BTD, memory_BSD, visibility, bias, positions, deterministic):
        c = self.config

        def project(name, source, heads, role, axis):
            init = initializer(c, role)
            y = Linear(heads * c.head_dim, (axes.EMBED, axis), init, c.use_bias, c.dtype, name=name)(source)
            y = y.reshape(*y.shape[:2], heads, c.head_dim)
            return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None)

        q_BTHE = project("query", x_BTD, c.heads, "query", axes.HEADS)
        k_BSKE = project("key", memory_BSD, c.kv_heads, "key_value", axes.KV_HEADS)
        v_BSKE = project("value", memory_BSD, c.kv_heads, "key_value", axes.KV_HEADS)
        if c.positions == "rotary" and positions is not None:
            q_BTHE = rotate(q_BTHE, positions, c.rope_theta)
            k_BSKE = rotate(k_BSKE, positions, c.rope_theta)
        out_BTHE = attention(
            q_BTHE,
            k_BSKE,
            v_BSKE,
            visibility,
            bias=bias,
            scale=c.head_dim**-0.5 if c.scale_attention else 1.0,
            dropout=c.attention_dropout,
            key=None if deterministic or not c.attention_dropout else self.make_rng("dropout"),
            backend=c.attention_backend,
        )
        out = out_BTHE.reshape(*out_BTHE.shape[:2], c.heads * c.head_dim)
        init = initializer(c, "attention_output")
        return Linear(c.width, (axes.HEADS, axes.EMBED), init, c.use_bias, c.dtype, name="output")(out)


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
    def __call__(self, x_BTD, context, deterministic):
        c = self.config

        def sublayer(x, name, function):
            norm = Norm(c, name=f"{name}_norm")
            y = function(norm(x) if c.norm_position == "pre" else x)
            y = x + dropout(self, y, c.dropout, deterministic)
            y = y if c.norm_position == "pre" else norm(y)
            return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)

        def self_attention(x):
            module = Attention(c, name="attention")
            return module(x, x, context.visibility, context.bias, context.positions, deterministic)

        def cross_attention(x):
            module = Attention(c, name="cross_attention")
            return module(x, context.memory, context.memory_visibility, None, None, deterministic)

        x_BTD = sublayer(x_BTD, "attention", self_attention)
        if context.memory is not None:
            x_BTD = sublayer(x_BTD, "cross_attention", cross_attention)
        return sublayer(x_BTD, "ffn", lambda x: FeedForward(c, name="ffn")(x, deterministic))
