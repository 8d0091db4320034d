"""The head "embedding": the vector of a text, which is compared with those of others."""

import jax.numpy as jnp

from cloze.models.heads.base import head


@head("embedding", rows=True, each_text=True, fields=("pooling",), architectures=("encoder", "decoder"),
      excludes=("class",))  # fmt: skip
def embeddings(c, body):
    """The pooled state of each row f32 [B, D], of examples of several texts [B, C, D]; it has no parameters."""
    del c
    return body.state.astype(jnp.float32)
