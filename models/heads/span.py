"""The head "span": where an answer starts and ends."""

from cloze.models.heads.base import head
from cloze.models.heads.classifier import Classifier


@head("span", "span_head", labels=True, rates=("head_dropout",))
def spans(c, body):
    """Logits of each token as the start and as the end of the answer, f32 [B, T, 2]."""
    return Classifier(c, 2, name="span_head")(body.transformed(body.hidden), body.deterministic)
