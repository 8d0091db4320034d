"""Small new parts inside a model, which train while the rest stays as it is: adapters, prefixes and prompts.

They are parameters of the model's own modules, and absent where ModelConfig has 0 for their size. Parts from which
parameters are computed before the model runs (LoRA, the networks under prefixes and prompts) are in models.adapted.
Shapes: P learned places, others as in models.attention; E of a table is the width of embeddings.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.attention import attention
from cloze.models.initializers import initializer
from cloze.models.inputs import Visibility
from cloze.models.primitives import ACTIVATIONS, Linear


class Adapter(nn.Module):
    """A bottleneck with a skip connection: x + up(activation(down(x))) (Houlsby et al. 2019, section 2.1).

    It stands behind a sublayer, before the residual sum. The paper draws both maps from a truncated normal of deviation
    0.01, near the identity; here `up` begins at zero, so that it is the identity, and `down` as in the paper.
    """

    config: Any

    @nn.compact
    def __call__(self, x_BTD):
        """[B, T, D]."""
        c = self.config
        init = nn.initializers.truncated_normal(1e-2)
        h_BTF = Linear(c.adapter_size, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="down")(x_BTD)
        h_BTF = ACTIVATIONS[c.activation](h_BTF)
        up = Linear(c.width, (axes.SMALL, axes.EMBED), nn.initializers.zeros, True, c.dtype, name="up")
        return x_BTD + up(h_BTF)


def prefix(module, config):
    """The learned keys and values of a layer, as parameters of its attention `module`: two [P, K, E].

    They know no position: rotary queries meet keys that are not turned.
    """
    width = config.kv_heads * config.head_dim
    init = nn.with_logical_partitioning(initializer(config, "key_value"), (axes.SMALL, axes.KV_HEADS))
    made = (module.param(name, init, (config.prefix_length, width), jnp.float32) for name in PREFIX)
    return tuple(x.astype(config.dtype).reshape(-1, config.kv_heads, config.head_dim) for x in made)


PREFIX = ("prefix_key", "prefix_value")


def put_in_front(prefix_PKE, k_BSKE, v_BSKE, visibility, bias):
    """Keys and values behind those of a prefix, which every query sees (Li and Liang 2021, section 4.2).

    Args:
        prefix_PKE: of `prefix`.
        k_BSKE, v_BSKE: keys and values.
        visibility: models.inputs.Visibility.
        bias: f32 [1 or B, H, T, S] or None; it is 0 for the prefix.

    Returns:
        (keys, values, visibility, bias) over P + S places.
    """
    length = prefix_PKE[0].shape[0]
    k_BSKE, v_BSKE = (
        jnp.concatenate([jnp.broadcast_to(mine, (x.shape[0], *mine.shape)).astype(x.dtype), x], axis=1)
        for mine, x in zip(prefix_PKE, (k_BSKE, v_BSKE), strict=True)
    )
    if bias is not None:
        bias = jnp.pad(bias, ((0, 0), (0, 0), (0, 0), (length, 0)))
    return k_BSKE, v_BSKE, visibility.replace(prefix=length), bias


def gated_prefix(module, config, q_BTHE, scale):
    """What a prefix adds to the output of attention: a softmax of its own, times tanh of a gate for each head.

    The gates begin at 0, so training begins at the model as it was (zero-initialised attention of LLaMA-Adapter,
    Zhang et al. 2023, section 3.2).

    Returns:
        [B, T, H, E].
    """
    init = nn.with_logical_partitioning(nn.initializers.zeros, (axes.HEADS,))
    gate_H = module.param("prefix_gate", init, (config.heads,), jnp.float32)
    k_BPKE, v_BPKE = (jnp.broadcast_to(x, (q_BTHE.shape[0], *x.shape)) for x in prefix(module, config))
    out_BTHE = attention(q_BTHE, k_BPKE, v_BPKE, Visibility(), scale=scale, backend="einsum")
    return jnp.tanh(gate_H)[:, None].astype(out_BTHE.dtype) * out_BTHE


class Prompt(nn.Module):
    """Vectors that stand where a text's token embeddings stand, in front of them (Lester et al. 2021, section 2).

    Whatever the model does to token embeddings (scales, adds positions, normalises) it does to them.
    """

    config: Any

    @nn.compact
    def __call__(self):
        """f32 [P, E]."""
        c = self.config
        init = nn.with_logical_partitioning(initializer(c, "embedding"), (axes.SMALL, axes.EMBED))
        return self.param("embedding", init, (c.prompt_length, c.embedding_width), jnp.float32)


def make_room(inputs, length):
    """The arrays of a stack (models.inputs.stream) that describe `length` places in front of the tokens as well.

    The prompt has positions 0 to length - 1 and the text follows. It lies in the row's segment and has the smallest
    rank of the row, so that all of the text sees it; its token type is 0. A row has one segment beside padding:
    objectives refuse to pack texts behind a prompt.
    """
    if not length:
        return inputs
    positions, segments, ranks, types = (inputs[key] for key in ("positions", "segments", "ranks", "token_types"))
    made = dict(inputs)
    if positions is not None:
        own = jnp.broadcast_to(jnp.arange(length, dtype=positions.dtype), (positions.shape[0], length))
        made["positions"] = jnp.concatenate([own, positions + length], axis=1)
    if segments is not None:
        made["segments"] = _in_front(segments, length, segments.max(axis=1))
    if ranks is not None:
        made["ranks"] = _in_front(ranks, length, ranks.min(axis=1))
    if types is not None:
        made["token_types"] = jnp.pad(types, ((0, 0), (length, 0)))
    return made


def _in_front(array_BT, length, value_B):
    value_BP = jnp.broadcast_to(value_B[:, None], (array_BT.shape[0], length))
    return jnp.concatenate([value_BP, array_BT], axis=1)


def text_only(outputs, length):
    """Outputs with the states of the first stack at the places of the text alone, behind a prompt of that length."""
    first = ("hidden", "hidden_states")
    if outputs.encoder_hidden is not None:
        first = ("encoder_hidden", "encoder_hidden_states")
    states = {name: getattr(outputs, name) for name in first}
    return outputs.replace(**{name: None if x is None else x[..., length:, :] for name, x in states.items()})
