"""The heads "tag" and "span": labels and spans of tokens, by a linear map of their states."""

from cloze.models.heads.base import head
from cloze.models.heads.classifier import Classifier


@head("tag", "tagger", labels=True, fields=("num_labels",), rates=("head_dropout",))
def tags(c, body):
    """Logits of the classes of each token, f32 [B, T, num_labels]."""
    return Classifier(c, c.num_labels, name="tagger")(body.hidden, body.deterministic)


@head("span", "span_head", labels=True, rates=("head_dropout",))
def spans(c, body):
    """Logits of each token as the start and as the end of the answer, f32 [B, T, 2]."""
    return Classifier(c, 2, name="span_head")(body.hidden, body.deterministic)
