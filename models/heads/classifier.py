"""The heads "class" and "choice" over the pooler, and the linear map that classifiers of rows and tokens end in."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.heads import pooler
from cloze.models.heads.base import RECURRENT, TRANSFORMERS, head
from cloze.models.initializers import initializer
from cloze.models.primitives import Linear

RATES = (*pooler.RATES, "head_dropout")


class Classifier(nn.Module):
    """Dropout and a linear map to `features` scores, f32."""

    config: Any
    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x, deterministic=True):
        """f32 [..., features]."""
        c = self.config
        x = dropout(self, x, c.head_dropout, deterministic)
        init = initializer(c, "head")
        output = Linear(self.features, (axes.EMBED, axes.SMALL), init, self.use_bias, c.dtype, name="output")
        nn.share_scope(self, output)
        return output(x).astype(jnp.float32)


@head(
    "class", "pooler", "classifier", labels=True, rows=True, fields=(*pooler.FIELDS, "classifier_bias", "num_labels"),
    rates=RATES, architectures=(*TRANSFORMERS, *RECURRENT), excludes=("choice",),
)  # fmt: skip
def classes(c, body):
    """Logits of the classes of each row, or one number for regression: f32 [B, num_labels], of packed texts
    [B, E, num_labels]."""
    classifier = Classifier(c, c.num_labels, c.classifier_bias, name="classifier")
    return classifier(pooler.pooled(c, body), body.deterministic)


@head("choice", "pooler", "classifier", labels=True, rows=True, each_text=True, fields=pooler.FIELDS, rates=RATES)
def choices(c, body):
    """A score of each choice, compared with those of the others: f32 [B, C], or [B, 1] of a single text a row."""
    scores = Classifier(c, 1, name="classifier")(pooler.pooled(c, body), body.deterministic)
    return scores[..., 0] if scores.ndim == 3 else scores
