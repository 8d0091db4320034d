"""The head "tag": the class of each token."""

from cloze.models.heads.base import head
from cloze.models.heads.classifier import Classifier


@head("tag", "tagger", labels=True, fields=("num_labels",), rates=("head_dropout",))
def tags(c, body):
    """Logits of the classes of each token, f32 [B, T, num_labels]."""
    return Classifier(c, c.num_labels, name="tagger")(body.transformed(body.hidden), body.deterministic)
