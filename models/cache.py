"""Keys and values of places that a decoder has read, so that the next token costs one place and not the whole row.

Shapes: L layers, B rows, S places that there is room for, M places of the encoder, K key/value heads, E head size. The
places of a head lie together, as its product with a query reads them: no product makes a copy first.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from cloze.models import axes
from cloze.models.inputs import Visibility

OWN, ACROSS = "attention", "cross_attention"  # the modules of a layer whose keys and values are kept
AXES = (axes.BATCH, axes.LAYERS, axes.ACT_HEADS, None, None)


@struct.dataclass
class Cache:
    """What the layers of a decoder keep. A model takes a cache and gives the next one; nothing is changed in place.

    Rows may stand at different places. What follows a started cache is causal: all places before a query are seen,
    whatever these saw of each other (a prefix language model). What lies at or beyond `index` is not valid, and needs
    no mask of its own, as its place is greater than that of every query before it.

    Attributes:
        kept: a tuple of {OWN: (keys, values) [B, L, K, S, E]} in the compute dtype, which in an encoder-decoder have
            also {ACROSS: (keys, values) [B, L, K, M, E]}: one for all layers, or, of a stack whose layers lie apart,
            one with L = 1 for each. Keys are kept as they are multiplied, that is rotated.
        index: int32 [B], the next place of each row.
        layer: int32 scalar, the layer whose turn it is; the stack sets it.
        part: static; which of several `kept` has this layer.
        memory_segments: int32 [B, M], segments of the encoder; None: its rows are whole.
        started: static; False until the first tokens are in.
    """

    kept: Any
    index: Any
    layer: Any
    memory_segments: Any = None
    part: int = struct.field(pytree_node=False, default=0)
    started: bool = struct.field(pytree_node=False, default=False)

    @property
    def length(self):
        """S, the places that there is room for."""
        return self.kept[0][OWN][0].shape[3]

    def places(self, count):
        """int32 [B, count], the places of the next tokens."""
        return self.index[:, None] + jnp.arange(count)

    def visibility(self, count, window):
        """Who sees whom when the next `count` tokens are the queries and all places the keys."""
        places_BT = self.places(count)
        return Visibility(
            window=window,
            query_ranks=places_BT,
            key_ranks=jnp.arange(self.length)[None],
            query_places=places_BT,
        )

    def write(self, name, k_BTKE, v_BTKE):
        """The cache with new keys and values of the layer whose turn it is: at the first places, or at the next ones.

        What does not fit is not written.
        """
        places_BT = self.places(k_BTKE.shape[1])
        layer = self._place()

        @jax.vmap  # not an index of rows, for which devices would exchange what they write
        def scatter(all_LKSE, places_T, new_TKE):
            return all_LKSE.at[layer, :, places_T].set(new_TKE, mode="drop")

        def put(all_BLKSE, new_BTKE):
            if self.started:
                filled = scatter(all_BLKSE, places_BT, new_BTKE)
            else:
                new_BLKTE = new_BTKE.swapaxes(1, 2)[:, None]
                filled = jax.lax.dynamic_update_slice(all_BLKSE, new_BLKTE, (0, layer, 0, 0, 0))
            return axes.constrain(filled, *AXES)

        kept = list(self.kept)
        keys, values = kept[self.part][name]
        kept[self.part] = {**kept[self.part], name: (put(keys, k_BTKE), put(values, v_BTKE))}
        return self.replace(kept=tuple(kept))

    def _place(self):
        """Where in its part the layer is whose turn it is."""
        return self.layer if len(self.kept) == 1 else 0

    def at_layer(self, index, number):
        """The cache when it is a layer's turn: `index` is its number; `number`, too, where layers lie apart."""
        return self.replace(layer=index) if len(self.kept) == 1 else self.replace(part=number)

    def take(self, rows_PN):
        """The cache whose rows are others of the same prompt: a beam that goes on from another one has its past.

        Args:
            rows_PN: int32 [P, N]; row n of a prompt's N becomes its row rows_PN[:, n]. B is P * N. What is kept of the
                encoder is the same in all rows of a prompt.
        """

        def chosen(array_B):
            parted = array_B.reshape(*rows_PN.shape, *array_B.shape[1:])
            return jax.vmap(lambda rows, which_N: rows[which_N])(parted, rows_PN).reshape(array_B.shape)

        kept = tuple({**part, OWN: tuple(map(chosen, part[OWN]))} for part in self.kept)
        return self.replace(kept=kept, index=chosen(self.index))

    def advance(self, count):
        """The cache after `count` tokens of every row."""
        return self.replace(index=self.index + count, started=True, part=0)

    def read(self, name):
        """(keys, values) [B, S or M, K, E] of the layer whose turn it is."""
        layer = self._place()
        return tuple(
            jax.lax.dynamic_index_in_dim(array, layer, axis=1, keepdims=False).swapaxes(1, 2)
            for array in self.kept[self.part][name]
        )


def new_cache(config, rows, length, *, memory_length=0, parts=1):
    """An empty cache.

    Args:
        config: ModelConfig of a decoder or an encoder-decoder.
        rows: B.
        length: S, places that there is to be room for.
        memory_length: M, tokens of the encoder's rows; 0 for a decoder alone.
        parts: 1, or the number of layers where they lie apart.
    """
    layers = config.decoder_layers or config.layers

    def empty(places):
        zeros = jnp.zeros((rows, layers // parts, config.kv_heads, places, config.head_dim), config.dtype)
        return (axes.constrain(zeros, *AXES),) * 2

    kept = {OWN: empty(length)}
    if memory_length:
        kept[ACROSS] = empty(memory_length)
    return Cache((kept,) * parts, jnp.zeros(rows, jnp.int32), jnp.zeros((), jnp.int32))
