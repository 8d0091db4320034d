"""XLNet's two streams: queries that know their place but not their token read the states of the text."""

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.initializers import initializer


def two_streams(module, name, contexts, placement, places_BP, deterministic):
    """The way of a query stream behind that of the text (Yang et al. 2019, section 2.3).

    A query begins as the vector that stands for a masked token. In each layer its keys and values are the states of
    the text, of smaller ranks only.

    Args:
        module: the model, which gets the parameter "{name}_mask_embedding".
        name: of the stack.
        contexts: models.layers.Context of each block of the pattern.
        placement: positions.Placement of the text.
        places_BP: int32 [B, P], where the queries stand in their row; None: there are none, and no second stream.
        deterministic: whether there is no dropout.

    Returns:
        A route, see models.stack.Stack; or None.
    """
    c = module.config
    init = nn.with_logical_partitioning(initializer(c, "embedding"), (axes.EMBED,))
    mask_D = module.param(f"{name}_mask_embedding", init, (c.width,), jnp.float32)
    if places_BP is None:
        return None

    def at(array_BT):
        return None if array_BT is None else jnp.take_along_axis(array_BT, places_BP, axis=1)

    placement = placement.replace(index=places_BP, query_types=at(placement.key_types))

    def as_queries(context, spec):
        seen = context.visibility
        ranks = seen.key_ranks
        ranks = jnp.zeros((len(places_BP), placement.length), jnp.int32) if ranks is None else ranks
        visibility = seen.replace(
            strict=True, query_segments=at(seen.key_segments), query_ranks=at(ranks), key_ranks=ranks
        )  # fmt: skip
        return context.replace(visibility=visibility, shared=spec.positions.share(c, name, False, placement))

    query_contexts = tuple(as_queries(context, spec) for context, spec in zip(contexts, c.blocks, strict=True))
    y_BPD = jnp.broadcast_to(mask_D.astype(c.dtype), (*places_BP.shape, c.width))
    y_BPD = dropout(module, y_BPD, c.dropout, deterministic)

    def route(run, x_BTD, cache):
        x_BTD, states, cache = run(x_BTD, contexts, collect=True, cache=cache)
        queries_BPD, _, _ = run(y_BPD, query_contexts, sources=states[:-1], stream=1)
        return x_BTD, queries_BPD, states, cache

    return route
