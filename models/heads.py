"""What stands on top of a stack: vocabulary heads, the pooler and classifiers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models import axes
from models.dropout import dropout
from models.embeddings import Table
from models.initializers import initializer, padded_rows
from models.primitives import ACTIVATIONS, Linear, Norm

BOUNDARY_POSITIONS, BOUNDARY_WIDTH = 20, 200  # SpanBERT: places in a span, and the size of their vectors


def gather(hidden_BTD, positions_BP):
    """The hidden states at P positions of each row, [B, P, D]."""
    return jnp.take_along_axis(hidden_BTD, positions_BP[:, :, None], axis=1)


def pool(hidden_BTD, config, segments, positions):
    """The state of each row that classifiers read, [B, D].

    Args:
        hidden_BTD: states of the last stack.
        config: ModelConfig; `pooling` says which place when `positions` is None. "max" takes the largest of each
            feature over all places that are not padding.
        segments: int32 [B, T], 0 for padding, or None.
        positions: int32 [B], or None.
    """
    if positions is None and config.pooling == "max":
        if segments is not None:
            lowest = jnp.finfo(hidden_BTD.dtype).min
            hidden_BTD = jnp.where((segments > 0)[..., None], hidden_BTD, lowest)
        return jnp.max(hidden_BTD, axis=1)
    if positions is None and config.pooling == "first":
        return hidden_BTD[:, 0]
    if positions is None and segments is None:
        return hidden_BTD[:, -1]
    if positions is None:
        length = hidden_BTD.shape[1]
        positions = length - 1 - jnp.argmax(jnp.flip(segments > 0, axis=1), axis=1)
    return gather(hidden_BTD, positions[:, None])[:, 0]


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: the token table reused, or a matrix of its own."""

    config: Any
    use_bias: bool = False

    @nn.compact
    def __call__(self, hidden_BTD, token_table):
        """f32 [B, T, V]; padding rows of the vocabulary are cut off."""
        c = self.config
        if c.tie_embeddings:
            if c.scale_tied_logits:
                hidden_BTD = hidden_BTD * c.width**-0.5
            logits = token_table.logits(hidden_BTD, c.dtype)
        else:
            padding = c.padded_vocab - c.vocab_size

            def init(key, shape, dtype=jnp.float32):
                return padded_rows(initializer(c, "head"), c.vocab_size)(key, shape[::-1], dtype).T

            kernel = self.param(
                "kernel",
                nn.with_logical_partitioning(init if padding else initializer(c, "head"), (axes.EMBED, axes.VOCAB)),
                (hidden_BTD.shape[-1], c.padded_vocab),
                jnp.float32,
            )
            logits = jnp.einsum(
                "BTD,DV->BTV",
                hidden_BTD.astype(c.dtype),
                kernel.astype(c.dtype),
                preferred_element_type=jnp.float32,
            )
        if self.use_bias:
            init = nn.with_logical_partitioning(nn.initializers.zeros, (axes.VOCAB,))
            logits += self.param("bias", init, (c.padded_vocab,), jnp.float32)
        logits = axes.constrain(logits, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)
        return logits[..., : c.vocab_size]


class MaskedHead(nn.Module):
    """BERT's vocabulary head: dense, activation and norm before the tied table, and a bias over the vocabulary.

    Without `mlm_transform` only the table and the bias are left (FlauBERT).
    """

    config: Any

    @nn.compact
    def __call__(self, hidden_BPD, token_table):
        """f32 [B, P, V]."""
        c = self.config
        if c.mlm_transform:
            init = initializer(c, "head")
            dense = Linear(c.embedding_width, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="dense")
            hidden_BPD = Norm(c, name="norm")(ACTIVATIONS[c.activation](dense(hidden_BPD)))
        vocabulary = VocabularyHead(c, use_bias=True, name="vocabulary")
        nn.share_scope(self, vocabulary)
        return vocabulary(hidden_BPD, token_table)


class BoundaryHead(nn.Module):
    """SpanBERT's head: a token from the states on both sides of its span (Joshi et al. 2020, 2.2)."""

    config: Any

    @nn.compact
    def __call__(self, left_BPD, right_BPD, offsets_BP, token_table):
        """f32 [B, P, V]."""
        c = self.config
        init = initializer(c, "head")
        position = Table(BOUNDARY_POSITIONS, BOUNDARY_WIDTH, c, axes.SMALL, name="position")(offsets_BP)
        x_BPD = jnp.concatenate([left_BPD, right_BPD, position.astype(left_BPD.dtype)], axis=-1)
        for layer in ("1", "2"):
            dense = Linear(c.embedding_width, (None, axes.SMALL), init, True, c.dtype, name=f"dense_{layer}")
            x_BPD = Norm(c, name=f"norm_{layer}")(ACTIVATIONS[c.activation](dense(x_BPD)))
        vocabulary = VocabularyHead(c, use_bias=True, name="vocabulary")
        nn.share_scope(self, vocabulary)
        return vocabulary(x_BPD, token_table)


class Pooler(nn.Module):
    """A dense layer with the family's activation over the state that stands for a row; BERT's is tanh."""

    config: Any

    @nn.compact
    def __call__(self, state_BD, deterministic):
        """[B, D]."""
        c = self.config
        state_BD = dropout(self, state_BD, c.pooler_dropout, deterministic)
        if c.pooler_activation == "none":
            return state_BD
        dense = Linear(c.width, (axes.EMBED, axes.SMALL), initializer(c, "head"), True, c.dtype, name="dense")
        x_BD = dense(state_BD)
        return jnp.tanh(x_BD) if c.pooler_activation == "tanh" else ACTIVATIONS[c.pooler_activation](x_BD)


class Classifier(nn.Module):
    """Dropout and a linear map to `features` scores, f32: of a row or of each token."""

    config: Any
    features: int
    use_bias: bool = True
    transform: bool = False  # ELECTRA's discriminator: a dense layer with the model's activation comes first

    @nn.compact
    def __call__(self, x, deterministic):
        """f32 [..., features]."""
        c = self.config
        init = initializer(c, "head")
        if self.transform:
            dense = Linear(c.width, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="dense")
            x = ACTIVATIONS[c.activation](dense(x))
            output = Linear(self.features, (axes.EMBED, axes.SMALL), init, self.use_bias, c.dtype, name="output")
        else:
            x = dropout(self, x, c.head_dropout, deterministic)
            output = Linear(self.features, (axes.EMBED, axes.SMALL), init, self.use_bias, c.dtype, name="output")
            nn.share_scope(self, output)
        return output(x).astype(jnp.float32)
