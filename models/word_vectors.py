"""Static word vectors: one for each word, and one for each word as the context of others (word2vec, GloVe)."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import axes
from cloze.models.embeddings import Table
from cloze.models.outputs import Outputs


class WordVectors(nn.Module):
    """score = vector of a word . vector of its context, plus a bias of either with `use_bias` (GloVe).

    Attributes:
        config: ModelConfig of architecture "word_vectors".
    """

    config: Any

    @nn.compact
    def __call__(self, batch, deterministic=True, collect=False):
        """Scores words in contexts.

        Args:
            batch: `tokens` int32 [B, T] and `contexts` int32 [B, T, ...], each context of its word; absent: every word
                as a context of itself.
            deterministic, collect: without effect, there is neither dropout nor a stack.

        Returns:
            Outputs with `hidden` [B, T, D], the vectors of words, and the head "context": scores f32 of the contexts'
            shape, sums in f32 of products in the compute type.
        """
        del deterministic, collect
        c = self.config
        tokens_BT, contexts = batch["tokens"], batch.get("contexts", batch["tokens"])
        padding = c.padded_vocab - c.vocab_size
        table = functools.partial(Table, c.padded_vocab, c.embedding_width, c, axes.VOCAB, padding)
        word_BTD = table(name="token")(tokens_BT).astype(c.dtype)
        context = table(name="context")(contexts).astype(c.dtype)
        between = (1,) * (contexts.ndim - tokens_BT.ndim)
        words = word_BTD.reshape(*tokens_BT.shape, *between, c.embedding_width)
        scores = jnp.sum(words * context, axis=-1, dtype=jnp.float32)
        if c.use_bias:
            init = nn.with_logical_partitioning(nn.initializers.zeros, (axes.VOCAB,))
            of_words = self.param("token_bias", init, (c.padded_vocab,), jnp.float32)
            of_contexts = self.param("context_bias", init, (c.padded_vocab,), jnp.float32)
            scores += of_words[tokens_BT].reshape(*tokens_BT.shape, *between) + of_contexts[contexts]
        return Outputs(hidden=word_BTD, heads={"context": scores})
