"""The head "sbo": SpanBERT's span boundary objective, a hidden token from the states on both sides of its span."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.embeddings import Table
from cloze.models.heads.base import head
from cloze.models.heads.vocabulary import FIELDS, VocabularyHead
from cloze.models.initializers import initializer
from cloze.models.pooling import gather
from cloze.models.primitives import ACTIVATIONS, Linear, Norm

READS = ("span_left", "span_right", "span_offsets")
BOUNDARY_POSITIONS, BOUNDARY_WIDTH = 20, 200  # places in a span, and the size of their vectors


class BoundaryHead(nn.Module):
    """A token from both ends of its span and its place in it (Joshi et al. 2020, 2.2)."""

    config: Any

    @nn.compact
    def __call__(self, left_BPD, right_BPD, offsets_BP, token_table):
        """Padded logits, f32 [B, P, rows]."""
        c = self.config
        init = initializer(c, "head")
        position = Table(BOUNDARY_POSITIONS, BOUNDARY_WIDTH, c, axes.SMALL, name="position")(offsets_BP)
        x_BPD = jnp.concatenate([left_BPD, right_BPD, position.astype(left_BPD.dtype)], axis=-1)
        for layer in ("1", "2"):
            dense = Linear(c.embedding_width, (None, axes.SMALL), init, True, c.dtype, name=f"dense_{layer}")
            x_BPD = Norm(c, name=f"norm_{layer}")(ACTIVATIONS[c.activation](dense(x_BPD)))
        vocabulary = VocabularyHead(c, use_bias=True, name="vocabulary")
        nn.share_scope(self, vocabulary)
        return vocabulary(x_BPD, token_table)


@head("sbo", "sbo_head", reads=READS, fields=FIELDS)
def span_boundary(c, body):
    """Padded logits of hidden tokens from the ends of their spans, f32 [B, P, rows]."""
    left_BP, right_BP, offsets_BP = (body.batch[name] for name in READS)
    ends = gather(body.hidden, left_BP), gather(body.hidden, right_BP)
    return BoundaryHead(c, name="sbo_head")(*ends, offsets_BP, body.table)
