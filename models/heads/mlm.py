"""The head "mlm": hidden tokens."""

from typing import Any

import flax.linen as nn

from cloze.models.heads.base import head
from cloze.models.heads.transform import Transform
from cloze.models.heads.vocabulary import FIELDS, VocabularyHead, check_tied


class MaskedHead(nn.Module):
    """BERT's vocabulary head: dense, activation and norm before the tied table, and a bias over the vocabulary.

    Without `mlm_transform` only the table and the bias are left (FlauBERT).
    """

    config: Any

    @nn.compact
    def __call__(self, hidden_BPD, token_table):
        """Padded logits, f32 [B, P, rows]."""
        c = self.config
        if c.mlm_transform:
            transform = Transform(c, c.embedding_width, name="transform")
            nn.share_scope(self, transform)
            hidden_BPD = transform(hidden_BPD)
        vocabulary = VocabularyHead(c, use_bias=True, name="vocabulary")
        nn.share_scope(self, vocabulary)
        return vocabulary(hidden_BPD, token_table)


def _check(config):
    if not config.mlm_transform:
        check_tied(config)


@head("mlm", "mlm_head", fields=(*FIELDS, "mlm_transform", "enhanced_decoder"), check=_check)
def hidden_tokens(c, body):
    """Padded logits of hidden tokens, f32 [B, T or P, rows]."""
    return MaskedHead(c, name="mlm_head")(body.transformed(body.scored), body.table)
