"""The head "nsp": whether B follows A (next sentence, sentence order)."""

import jax.numpy as jnp

from cloze.models import axes
from cloze.models.heads.base import head
from cloze.models.heads.pooler import FIELDS, RATES, pooled
from cloze.models.initializers import initializer
from cloze.models.primitives import Linear


@head("nsp", "pooler", "nsp_head", rows=True, fields=FIELDS, rates=RATES)
def next_sentence(c, body):
    """Logits of two classes, f32 [B, 2]: B follows A, B is random."""
    linear = Linear(2, (axes.EMBED, axes.SMALL), initializer(c, "head"), True, c.dtype, name="nsp_head")
    return linear(pooled(c, body)).astype(jnp.float32)
