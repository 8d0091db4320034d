"""The head "copy": which tokens are the original ones (COCO-LM)."""

from cloze.models.heads.base import head
from cloze.models.heads.classifier import Classifier


@head("copy", "copy_head")
def original(c, body):
    """A score of each token, positive where it looks original, f32 [B, T]; a head of pretraining, without dropout."""
    return Classifier(c, 1, name="copy_head")(body.hidden)[..., 0]
