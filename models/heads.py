"""What stands on top of a stack: vocabulary heads, the pooler and classifiers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.dropout import dropout
from cloze.models.embeddings import Table
from cloze.models.features import FeatureTransform, has_transform
from cloze.models.initializers import initializer, padded_rows
from cloze.models.inputs import STREAM_KEYS
from cloze.models.primitives import ACTIVATIONS, Linear, Norm, changed

BOUNDARY_POSITIONS, BOUNDARY_WIDTH = 20, 200  # SpanBERT: places in a span, and the size of their vectors


def gather(hidden_BTD, positions_BP):
    """The hidden states at P positions of each row, [B, P, D]."""
    return jnp.take_along_axis(hidden_BTD, positions_BP[:, :, None], axis=1)


def pool(hidden_BTD, config, segments, positions):
    """The state of each row that classifiers read, [B, D], or those of several texts in a row, [B, E, D].

    Args:
        hidden_BTD: states of the last stack.
        config: ModelConfig; `pooling` says which place when `positions` is None. "max" takes the largest of each
            feature over all places that are not padding, "mean" their mean; of a row of nothing but padding, 0.
        segments: int32 [B, T], 0 for padding, or None.
        positions: int32 [B] or [B, E], or None.
    """
    if positions is not None:
        states = gather(hidden_BTD, positions.reshape(positions.shape[0], -1))
        return states.reshape(*positions.shape, states.shape[-1])
    if config.pooling in ("max", "mean"):
        return _over_places(hidden_BTD, config.pooling, segments)
    if config.pooling == "first":
        return hidden_BTD[:, 0]
    if segments is None:
        return hidden_BTD[:, -1]
    length = hidden_BTD.shape[1]
    last_B = length - 1 - jnp.argmax(jnp.flip(segments > 0, axis=1), axis=1)
    return gather(hidden_BTD, last_B[:, None])[:, 0]


def _over_places(hidden_BTD, kind, segments):
    """[B, D]: the largest or the mean of each feature over the places that are not padding."""
    if segments is None:
        return jnp.max(hidden_BTD, axis=1) if kind == "max" else jnp.mean(hidden_BTD, axis=1)
    real_BT1 = (segments > 0)[..., None]
    if kind == "max":
        largest_BD = jnp.max(jnp.where(real_BT1, hidden_BTD, jnp.finfo(hidden_BTD.dtype).min), axis=1)
        return jnp.where(jnp.any(real_BT1, axis=1), largest_BD, 0)  # the least number would overflow further on
    count_B1 = jnp.maximum(jnp.sum(real_BT1, axis=1), 1).astype(hidden_BTD.dtype)
    return jnp.sum(jnp.where(real_BT1, hidden_BTD, 0), axis=1) / count_B1


def fold_texts(batch):
    """Puts the texts of examples that have several, one behind the other, into rows of their own.

    Args:
        batch: see models.inputs.

    Returns:
        The batch with [B, C, T] arrays of streams, and `pool_positions` [B, C], as [B * C, ...]; and C, or None where
        the batch has a text a row, and is returned as it is.
    """
    if "tokens" not in batch or batch["tokens"].ndim == 2:
        return batch, None
    folded = [prefix + key for prefix in ("", "decoder_") for key in STREAM_KEYS]
    flat = {key: batch[key].reshape(-1, batch[key].shape[-1]) for key in folded if key in batch}
    if "pool_positions" in batch:
        flat["pool_positions"] = batch["pool_positions"].reshape(-1)
    return batch | flat, batch["tokens"].shape[1]


def unfold_texts(array, texts):
    """[B * C, ...] -> [B, C, ...], where there are several texts an example; None stays None."""
    return array if array is None or texts is None else array.reshape(-1, texts, *array.shape[1:])


def example_states(state, config, texts):
    """What classifiers of examples read, from the states of their texts.

    Args:
        state: [B, D] or packed [B, E, D] of a text an example, or [B * C, D].
        config: ModelConfig.
        texts: C, or None.

    Returns:
        `state`; of several texts with the head "choice" [B, C, D], with another their sum [B, D] (GPT-1 reads a pair
        in both orders, Radford et al. 2018, 3.3).
    """
    if texts is None:
        return state
    state_BCD = unfold_texts(state, texts)
    return state_BCD if "choice" in config.heads_out else jnp.sum(state_BCD, axis=1)


def classify(state, config, deterministic):
    """The classifier of rows; call it inside a compact method, whose module gets the parts "pooler" or
    "feature_transform", and "classifier".

    Args:
        state: [..., D], what `example_states` gives.
        config: ModelConfig, with the head "class" or "choice" if there are to be scores.
        deterministic: False draws dropout.

    Returns:
        Fields of Outputs: `pooled` [..., D], and `class_logits` f32 [..., num_labels] ("class"), or [B, C] of C choices
        and [B, 1] of a single text ("choice").
    """
    if has_transform(config):
        pooled = FeatureTransform(config, name="feature_transform")(state)
    else:
        pooled = Pooler(config, name="pooler")(state, deterministic)
    found = {"pooled": pooled}
    if "class" in config.heads_out:
        head = Classifier(config, config.num_labels, config.classifier_bias, name="classifier")
        found["class_logits"] = head(pooled, deterministic)
    if "choice" in config.heads_out:
        scores = Classifier(config, 1, name="classifier")(pooled, deterministic)
        found["class_logits"] = scores[..., 0] if scores.ndim == 3 else scores
    return found


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
            logits = changed(self, hidden_BTD.astype(c.dtype), logits, kernel)
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
        """[..., D], as `state_BD`, which may have more dimensions."""
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


def head_modules():
    """Names of the modules of all heads, at the top of a model's parameters."""
    return tuple("pooler classifier tagger span_head lm_head mlm_head nsp_head rtd_head copy_head sbo_head".split())


def head_pattern():
    return f"({'|'.join(head_modules())})/.*"


def label_pattern(*, last=False):
    return r"(classifier|tagger|span_head)/.*" if last else r"(pooler|classifier|tagger|span_head)/.*"
