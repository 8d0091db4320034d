"""The one transformer: an encoder, a decoder or both, with the heads that an objective asks for."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct

from models import axes
from models.embeddings import Embeddings, Table
from models.heads import MaskedHead, Pooler, VocabularyHead, gather
from models.initializers import initializer
from models.inputs import Visibility, stream
from models.layers import Context, Linear
from models.positions import RelativeBias
from models.stack import Stack

HEADS = ("lm", "mlm", "nsp", "pooler")


@struct.dataclass
class Outputs:
    """What a model gives; None where not asked for.

    Attributes:
        logits: f32 [B, T or P, V] over the vocabulary ("lm", "mlm").
        hidden: [B, T, D] output of the last stack.
        pooled: [B, D] ("nsp", "pooler").
        nsp_logits: f32 [B, 2]: B follows A, B is random ("nsp").
        encoder_hidden: [B, S, D] output of the encoder of an encoder-decoder.
        hidden_states: [layers + 1, B, T, D] of the last stack, on request.
    """

    logits: Any = None
    hidden: Any = None
    pooled: Any = None
    nsp_logits: Any = None
    encoder_hidden: Any = None
    hidden_states: Any = None


class Transformer(nn.Module):
    """Encoder, decoder or encoder-decoder, as `config` says.

    Attributes:
        config: ModelConfig.
        frozen_encoder, frozen_decoder: bottom layers of each stack that run without a backward pass.
    """

    config: Any
    frozen_encoder: int = 0
    frozen_decoder: int = 0

    @nn.compact
    def __call__(self, batch, deterministic=True, collect=False):
        """Runs the model.

        Args:
            batch: dict of arrays, see models.inputs.
            deterministic: False draws dropout from the "dropout" random stream.
            collect: also return the states between layers.

        Returns:
            Outputs.
        """
        c = self.config
        table = Table(c.padded_vocab, c, axes.VOCAB, c.padded_vocab - c.vocab_size, name="token")
        run = dict(token_table=table, deterministic=deterministic, collect=collect)
        encoder_hidden = None
        if c.architecture == "encoder":
            hidden, states = self._stack("encoder", stream(batch), layers=c.layers, causal=False, **run)
        elif c.architecture == "decoder":
            hidden, states = self._stack("decoder", stream(batch), layers=c.layers, causal=True, **run)
        else:
            encoder_inputs = stream(batch)
            encoder_hidden, _ = self._stack("encoder", encoder_inputs, layers=c.layers, causal=False, **run)
            hidden, states = self._stack(
                "decoder",
                stream(batch, "decoder_"),
                layers=c.decoder_layers,
                causal=True,
                memory=encoder_hidden,
                memory_segments=encoder_inputs["segments"],
                **run,
            )
        outputs = Outputs(hidden=hidden, hidden_states=states, encoder_hidden=encoder_hidden)
        return self._heads(outputs, table, batch.get("prediction_positions"))

    def _stack(
        self, name, inputs, *, layers, causal, token_table, deterministic, collect, memory=None, memory_segments=None
    ):
        """Embeds one stream and runs its stack; returns the output and the states between layers."""
        c = self.config
        # The two sides of an encoder-decoder share the token table; other embeddings are each side's own.
        x_BTD = Embeddings(c, name=f"{name}_embeddings")(token_table, inputs, deterministic)
        segments, ranks = inputs["segments"], inputs["ranks"]
        positions = inputs["positions"]
        length = x_BTD.shape[1]
        bias = None
        if c.positions == "relative_bias":
            bias = RelativeBias(c, bidirectional=not causal, name=f"{name}_relative_bias")(length)
        context = Context(
            visibility=Visibility(
                causal=causal,
                window=c.window,
                query_segments=segments,
                key_segments=segments,
                query_ranks=ranks,
                key_ranks=ranks,
            ),
            bias=bias,
            positions=jnp.arange(length)[None] if positions is None else positions,
            memory=memory,
            memory_visibility=None if memory is None else _across(segments, memory_segments, x_BTD, memory),
        )
        frozen = self.frozen_encoder if name == "encoder" else self.frozen_decoder
        return Stack(c, layers, frozen, name=name)(x_BTD, context, deterministic, collect)

    def _heads(self, outputs, table, prediction_positions):
        c = self.config
        logits = pooled = nsp_logits = None
        scored = outputs.hidden
        if prediction_positions is not None:
            scored = gather(scored, prediction_positions)
        if "lm" in c.heads_out:
            logits = VocabularyHead(c, name="lm_head")(scored, table)
        if "mlm" in c.heads_out:
            logits = MaskedHead(c, name="mlm_head")(scored, table)
        if "nsp" in c.heads_out or "pooler" in c.heads_out:
            pooled = Pooler(c, name="pooler")(outputs.hidden)
        if "nsp" in c.heads_out:
            head = Linear(2, (axes.EMBED, axes.SMALL), initializer(c, "head"), True, c.dtype, name="nsp_head")
            nsp_logits = head(pooled).astype(jnp.float32)
        return outputs.replace(logits=logits, pooled=pooled, nsp_logits=nsp_logits)


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
