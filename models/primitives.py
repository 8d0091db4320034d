"""What everything is built of: activations, linear maps and norms."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.platforms import platform

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


CHANGE = "change"  # name, beside a kernel, of what changes it
FEW = 64  # vectors for which a table is not worth transposing


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
        x = x.astype(self.dtype)
        y = changed(self, x, product(x, kernel.astype(self.dtype)), kernel)
        if self.use_bias:
            bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.names[1:])
            y += self.param("bias", bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y


def changed(module, x, y, kernel):
    """y = x @ kernel, or what it is with the change that lies beside the kernel (models.low_rank).

    Args:
        module: that owns the kernel.
        x: [..., in].
        y: [..., out].
        kernel: f32 [in, out], as it is stored.
    """
    if not module.has_variable("params", CHANGE):
        return y
    return module.get_variable("params", CHANGE)(x, y, kernel)


def product(x, kernel, dtype=None):
    """x @ kernel, accumulated in `dtype` if one is given.

    XLA's CPU backend differentiates a product of matrices a third faster than one of [B, T, D].
    """
    if platform() != "cpu":
        return jnp.matmul(x, kernel, preferred_element_type=dtype)
    y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=dtype)
    if y.shape[0] == 1:  # fused with what follows, it would run on one thread
        y = jax.lax.optimization_barrier(y)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def product_with_rows(x, table, dtype):
    """x @ table.T of a table [rows, in], accumulated in `dtype`.

    XLA's CPU backend would transpose the whole table for a few vectors, which takes five times as long as the product.
    """
    if x.size // x.shape[-1] > FEW or platform() != "cpu":
        return product(x, table.T, dtype)
    y = jnp.matmul(table, x.reshape(-1, x.shape[-1]).T, preferred_element_type=dtype)
    return jax.lax.optimization_barrier(y).T.reshape(*x.shape[:-1], -1)  # else XLA turns the product round again


class Norm(nn.Module):
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019), with statistics in f32.

    With `norm_plus_one` the RMS norm's factor is 1 + scale (Gemma).

    Attributes:
        config: ModelConfig.
        axis: logical name of the normalised axis.
    """

    config: Any
    axis: str = axes.EMBED

    @nn.compact
    def __call__(self, x):
        c = self.config
        named = lambda init: nn.with_logical_partitioning(init, (self.axis,))  # noqa: E731
        x = x.astype(jnp.float32)
        neutral = nn.initializers.zeros if c.norm_plus_one else nn.initializers.ones
        scale = self.param("scale", named(neutral), x.shape[-1:], jnp.float32).astype(jnp.float32)
        if c.norm == "rms":
            scale = 1 + scale if c.norm_plus_one else scale
            y = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + c.norm_epsilon) * scale
            return y.astype(c.dtype)
        centred = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + c.norm_epsilon) * scale
        if c.norm_bias:
            y += self.param("bias", named(nn.initializers.zeros), x.shape[-1:], jnp.float32)
        return y.astype(c.dtype)
