"""Logical names of array axes: what a dimension means, not where it lives.

Parameters and activations carry these names; `parallel.mesh` holds the one table from names to mesh axes.
"""

import flax.linen as nn

# Axes of parameters.
LAYERS = "layers"  # a stacked layer's place in its stack
EMBED = "embed"  # the residual width
HEADS = "heads"  # query heads times head size
KV_HEADS = "kv_heads"  # key/value heads times head size
FFN = "ffn"  # feed-forward hidden size
VOCAB = "vocab"  # vocabulary, padding included
POSITIONS = "positions"  # learned positions
SMALL = "small"  # anything too small to cut: token types, classes, buckets
# Axes of activations.
BATCH = "batch"  # rows
LENGTH = "length"  # positions in a row
ACT_EMBED = "activation_embed"
ACT_HEADS = "activation_heads"
ACT_FFN = "activation_ffn"
ACT_VOCAB = "activation_vocab"

NAMES = frozenset(
    {LAYERS, EMBED, HEADS, KV_HEADS, FFN, VOCAB, POSITIONS, SMALL}
    | {BATCH, LENGTH, ACT_EMBED, ACT_HEADS, ACT_FFN, ACT_VOCAB}
)


def constrain(x, *names):
    """Asks the compiler to place `x` by the logical name of each of its dimensions (None: anywhere).

    Without a mesh this does nothing. Flax takes a misspelt name to mean "replicated", so it is refused here.
    """
    unknown = [name for name in names if name is not None and name not in NAMES]
    if unknown or len(names) != x.ndim:
        raise ValueError(f"cannot place an array of shape {x.shape} by the names {names}; known names: {sorted(NAMES)}")
    return nn.with_logical_constraint(x, names)
