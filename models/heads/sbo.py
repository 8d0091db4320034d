"""The head "sbo": SpanBERT's span boundary objective, a hidden token from the states on both sides of its span."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.embeddings import Table
from cloze.models.heads.base import head
from cloze.models.heads.vocabulary import FIELDS, VocabularyHead
from cloze.models.initializers import initializer
from cloze.models.pooling import gather
from cloze.models.primitives import ACTIVATIONS, Linear, Norm

BOUNDARY_POSITIONS, BOUNDARY_WIDTH = 20, 200  # places in a span, and the size of their vectors


class BoundaryHead(nn.Module):
    """A token from both ends of its span and its place in it (Joshi et al. 2020, 2.2)."""

    config: Any

    @nn.compact
    def __call__(self, left_BPD, right_BPD, offsets_BP, token_table):
        """f32 [B, P, V]."""
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


@head("sbo", "sbo_head", fields=FIELDS)
def span_boundary(c, body):
    """Logits of hidden tokens from the ends of their spans, f32 [B, P, V]."""
    batch = body.batch
    if "span_left" not in batch:
        raise ConfigError("model.heads_out: sbo needs rows with the ends of spans, which this objective has not")
    left, right = gather(body.hidden, batch["span_left"]), gather(body.hidden, batch["span_right"])
    return BoundaryHead(c, name="sbo_head")(left, right, batch["span_offsets"], body.table)
