"""What a model reads, and the one rule of who sees whom.

A batch is a dict of arrays. For the first (or only) stack, each [B, T] int32:
    tokens       token ids; the only key that must be there
    segments     0 is padding; a query sees keys of its own segment only. Absent: each row is one whole segment
    positions    position of each token, for learned, sinusoidal and rotary positions. Absent: 0, 1, 2, ...
    ranks        a query sees keys of equal or smaller rank. Absent: the stack's own rule, which is all ranks equal
                 in an encoder (bidirectional) and rank = place in the row in a decoder (causal)
    token_types  BERT's sentence A or B. Absent: 0
The decoder of an encoder-decoder reads the same five as `decoder_tokens`, ... .
    prediction_positions  [B, P]: the vocabulary head runs at these places only. Absent: everywhere. With
                 Transformer-XL positions (XLNet) they are the places of the query stream
    pool_positions        [B]: the place that classifiers of whole rows read, or [B, E] the places of the texts that
                 are packed into a row. Absent: the first, or the last that is not padding, as model.pooling says
    features     [B, D], [B, C, D] or, of classifiers of tokens, [B, T, D]: what classifiers read, as an earlier run of
                 the body gave it (`Outputs.features`). Nothing below them is computed, and no tokens are needed
For classifiers of rows a row may be several texts: arrays of streams are [B, C, T] then, `pool_positions` [B, C]. With
the heads "choice" and "embedding" each is by itself, with "class" their states are added.
    span_left, span_right, span_offsets  [B, P]: for the head "sbo", the places before and after the span that holds
                 each predicted token, and the token's place in it, from 0
    contexts     [B, T, ...]: of word vectors, the words that each token is scored with
Absent keys are known when a program is compiled, so that rows without padding can use fused kernels.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct

STREAM_KEYS = ("tokens", "segments", "positions", "ranks", "token_types")


def stream(batch, prefix=""):
    """The five arrays of one stack, None where absent."""
    return {key: batch.get(prefix + key) for key in STREAM_KEYS}


@struct.dataclass
class Visibility:
    """Who sees whom: a query sees a key when both lie in the same segment and rank[key] <= rank[query].

    Bidirectional attention has all ranks 0, causal attention rank = position, a prefix language model 0 in the
    prefix and then the position. The two common cases, everything and causal, are named and static.

    Attributes:
        causal: static; without ranks, a query sees keys at or before its own place.
        strict: static; smaller ranks only: XLNet's query stream, which must not see what it predicts.
        prefix: static; keys in front of those that the arrays tell of, which every query sees.
        window: static; if positive, only keys fewer than this many places back (and forward) are seen.
        query_segments, key_segments: int32 [B, T] and [B, S], or both None.
        query_ranks, key_ranks: int32 [B, T] and [B, S], or both None.
        query_places: int32 [B, T], where in the row of keys the queries of a cache stand; None: at its start.
    """

    causal: bool = struct.field(pytree_node=False, default=False)
    strict: bool = struct.field(pytree_node=False, default=False)
    prefix: int = struct.field(pytree_node=False, default=0)
    window: int = struct.field(pytree_node=False, default=0)
    query_segments: Any = None
    key_segments: Any = None
    query_ranks: Any = None
    key_ranks: Any = None
    query_places: Any = None

    @property
    def is_causal(self):
        """True when the rule is exactly "keys at or before the query", without segments."""
        whole = self.query_ranks is None and self.query_segments is None and not self.window
        return self.causal and whole and not self.prefix

    @property
    def sees_all(self):
        """True when every query sees every key."""
        return not self.causal and self.query_ranks is None and self.query_segments is None and not self.window

    @property
    def is_causal_window(self):
        """True when the rule is exactly "the last `window` keys up to the query", without segments."""
        return bool(self.causal and self.window) and self.replace(window=0).is_causal and self.query_places is None

    @property
    def placed(self):
        """True when queries do not stand at the start of the row of keys: they read a cache."""
        return self.query_places is not None

    @property
    def may_see_nothing(self):
        """True when a query may have no key to see: self-attention always has the query's own place."""
        return self.strict or self.query_segments is not self.key_segments

    def mask(self, query_length, key_length):
        """bool [B or 1, T, S], True where the query sees the key; None if it sees everything."""
        query_T1 = jnp.arange(query_length)[:, None]
        key_1S = jnp.arange(key_length - self.prefix)[None, :]
        parts = []
        if self.query_segments is not None:
            parts.append(self.query_segments[:, :, None] == self.key_segments[:, None, :])
        if self.query_ranks is not None:
            queries, keys = self.query_ranks[:, :, None], self.key_ranks[:, None, :]
            parts.append(keys < queries if self.strict else keys <= queries)
        elif self.causal:
            parts.append((key_1S <= query_T1)[None])
        if self.window:
            places = query_T1[None] if self.query_places is None else self.query_places[:, :, None]
            parts.append(abs(places - key_1S) < self.window)
        if not parts:
            return None
        mask = parts[0]
        for part in parts[1:]:
            mask = mask & part
        return jnp.pad(mask, ((0, 0), (0, 0), (self.prefix, 0)), constant_values=True)

    def zero_blind(self, out_BTHE, mask):
        """The output of attention with zeros where no key is seen: softmax over nothing is the mean of all values.

        Args:
            out_BTHE: [B, T, H, E].
            mask: as `mask` gives it.
        """
        if mask is None or not self.may_see_nothing:
            return out_BTHE
        return jnp.where(mask.any(axis=-1)[:, :, None, None], out_BTHE, 0)
