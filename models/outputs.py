"""What a model gives."""

from typing import Any

from flax import struct


@struct.dataclass
class Padded:
    """Logits over the rows of a table, of which only the first count.

    To cut the others off costs passes over the largest array of a step, above all backwards; a loss leaves them out
    as it reads.

    Attributes:
        array: f32 [..., rows].
        size: static; V, the rows that count.
    """

    array: Any
    size: int = struct.field(pytree_node=False)

    @property
    def logits(self):
        """f32 [..., V]."""
        return self.array[..., : self.size]


@struct.dataclass
class Outputs:
    """What a model gives; None where not asked for.

    Attributes:
        hidden: [B, T, D] output of the last stack.
        heads: {name in `heads_out`: what that head gives}, see models/heads. "pooler" is there wherever a head reads
            it; "backward_lm" beside "lm" of recurrent models in both directions; "context" of word vectors.
        padded: {name of a head over the vocabulary: Padded}, what `heads` has without the padding of its table.
        features: what heads of labelled examples read of the body: the state of each row, text in it or choice, or
            `hidden` (heads of tokens). As `features` in a batch they stand for it.
        query_hidden: [B, P, D] output of XLNet's query stream.
        encoder_hidden: [B, S, D] output of the encoder of an encoder-decoder.
        hidden_states: [layers + 1, B, T, D] of the last stack, on request.
        encoder_hidden_states: [layers + 1, B, S, D] of the encoder of an encoder-decoder, on request.
        cache: models.cache.Cache with the decoder's tokens in it, if one was given.
    """

    hidden: Any = None
    heads: dict[str, Any] = struct.field(default_factory=dict)
    padded: dict[str, Any] = struct.field(default_factory=dict)
    features: Any = None
    query_hidden: Any = None
    encoder_hidden: Any = None
    hidden_states: Any = None
    encoder_hidden_states: Any = None
    cache: Any = None

    @property
    def logits(self):
        """f32 [B, T or P, V] over the vocabulary, of the head "lm" or "mlm"; None without such a head."""
        return self.heads.get("lm", self.heads.get("mlm"))

    def over_vocabulary(self, name=None):
        """What a loss should read of a head over the vocabulary: Padded, or f32 [..., V] if that is all there is.

        Args:
            name: of the head; None: that of `logits`.
        """
        name = name or ("lm" if "lm" in self.heads else "mlm")
        return self.padded.get(name, self.heads[name])

    @property
    def pooled(self):
        """[B, D] of the pooler, of packed texts or of choices [B, E or C, D]; None where no head reads it."""
        return self.heads.get("pooler")
