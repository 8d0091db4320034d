"""The head "lm": the next token."""

from cloze.models.heads.base import RECURRENT, TRANSFORMERS, head
from cloze.models.heads.vocabulary import FIELDS, VocabularyHead, check_tied


@head(
    "lm", "lm_head", fields=(*FIELDS, "lm_bias"), architectures=(*TRANSFORMERS, *RECURRENT), excludes=("mlm",),
    check=check_tied,
)  # fmt: skip
def next_token(c, body):
    """Padded logits of the next token, f32 [B, T or P, rows]; a model of both directions also gives "backward_lm", of
    the token before, by the same parameters."""
    vocabulary = VocabularyHead(c, c.lm_bias, name="lm_head")
    if body.backward is not None:
        body.outputs.heads["backward_lm"] = vocabulary(body.backward, body.table)
    return vocabulary(body.scored, body.table)
