"""The heads "class" and "choice": a classifier of rows over the pooler."""

from cloze.models.heads.base import RECURRENT, TRANSFORMERS, head
from cloze.models.heads.classifier import Classifier
from cloze.models.heads.pooler import FACTS, pooled

_RATES = (*FACTS["rates"], "head_dropout")


@head(
    "class", "pooler", "classifier", labels=True, rows=True, fields=(*FACTS["fields"], "classifier_bias", "num_labels"),
    rates=_RATES, architectures=(*TRANSFORMERS, *RECURRENT), excludes=("choice",),
)  # fmt: skip
def classes(c, body):
    """Logits of the classes of each row, or one number for regression, f32 [B, num_labels]; of packed texts
    [B, E, num_labels]."""
    classifier = Classifier(c, c.num_labels, c.classifier_bias, name="classifier")
    return classifier(pooled(c, body), body.deterministic)


@head("choice", "pooler", "classifier", labels=True, each_text=True, **FACTS | {"rates": _RATES})
def choices(c, body):
    """A score of each choice, compared with those of the others, f32 [B, C], or [B, 1] of a single text a row."""
    scores = Classifier(c, 1, name="classifier")(pooled(c, body), body.deterministic)
    return scores[..., 0] if scores.ndim == 3 else scores
