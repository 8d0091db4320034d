"""The one transformer: an encoder, a decoder or both, with the heads that an objective asks for."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct

from errors import ConfigError
from models import axes
from models.dropout import dropout
from models.embeddings import Embeddings, Table
from models.heads import BoundaryHead, Classifier, MaskedHead, Pooler, VocabularyHead, gather, pool
from models.initializers import initializer
from models.inputs import Visibility, stream
from models.layers import Context
from models.positions import RelativeBias
from models.primitives import Linear
from models.relative import DisentangledDistances, transformer_xl_distances
from models.stack import Stack


@struct.dataclass
class Outputs:
    """What a model gives; None where not asked for. The head that gives it is in parentheses.

    Attributes:
        logits: f32 [B, T or P, V] over the vocabulary ("lm", "mlm").
        hidden: [B, T, D] output of the last stack.
        pooled: [B, D] ("nsp", "pooler", "class", "choice").
        nsp_logits: f32 [B, 2]: B follows A, B is random ("nsp").
        class_logits: f32 [B, num_labels] ("class"), or [B, 1] ("choice").
        tag_logits: f32 [B, T, num_labels] ("tag").
        span_logits: f32 [B, T, 2], start and end ("span").
        replaced_logits: f32 [B, T] ("rtd").
        copy_logits: f32 [B, T] ("copy").
        boundary_logits: f32 [B, P, V] ("sbo").
        backward_logits: f32 [B, T, V], of the token before ("lm" of recurrent models in both directions).
        scores: f32, how well words go with contexts (word vectors).
        query_hidden: [B, P, D] output of XLNet's query stream.
        encoder_hidden: [B, S, D] output of the encoder of an encoder-decoder.
        hidden_states: [layers + 1, B, T, D] of the last stack, on request.
        encoder_hidden_states: [layers + 1, B, S, D] of the encoder of an encoder-decoder, on request.
    """

    logits: Any = None
    hidden: Any = None
    pooled: Any = None
    nsp_logits: Any = None
    class_logits: Any = None
    tag_logits: Any = None
    span_logits: Any = None
    replaced_logits: Any = None
    copy_logits: Any = None
    boundary_logits: Any = None
    backward_logits: Any = None
    scores: Any = None
    query_hidden: Any = None
    encoder_hidden: Any = None
    hidden_states: Any = None
    encoder_hidden_states: Any = None


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
        table = Table(
            c.padded_vocab, c.embedding_width, c, axes.VOCAB, c.padded_vocab - c.vocab_size, name="token"
        )  # fmt: skip
        run = dict(token_table=table, deterministic=deterministic, collect=collect)
        encoder_hidden = encoder_states = None
        inputs = stream(batch)
        if c.architecture == "encoder_decoder":
            decoder = Stack(c, c.decoder_layers, 0 if c.shared_stacks else self.frozen_decoder, name="decoder")
            encoder = decoder if c.shared_stacks else Stack(c, c.layers, self.frozen_encoder, name="encoder")
            if c.shared_stacks and self.is_initializing():
                encoder = _pass  # the decoder makes the parameters, those of cross-attention among them
            encoder_hidden, _, encoder_states = self._stack("encoder", encoder, inputs, **run)
            memory = (encoder_hidden, inputs["segments"])
            inputs = stream(batch, "decoder_")
            hidden, queries, states = self._stack("decoder", decoder, inputs, memory=memory, **run)
        else:
            frozen = self.frozen_encoder if c.architecture == "encoder" else self.frozen_decoder
            module = Stack(c, c.layers, frozen, name=c.architecture)
            places = batch.get("prediction_positions")
            hidden, queries, states = self._stack(c.architecture, module, inputs, places=places, **run)
        outputs = Outputs(
            hidden=hidden,
            query_hidden=queries,
            hidden_states=states,
            encoder_hidden=encoder_hidden,
            encoder_hidden_states=encoder_states,
        )
        return self._row_heads(self._token_heads(outputs, table, batch, deterministic), inputs, batch, deterministic)

    def _stack(self, name, module, inputs, *, token_table, deterministic, collect, memory=None, places=None):
        """Embeds one stream and runs its stack; returns what the stack returns."""
        c = self.config
        # The two sides of an encoder-decoder share the token table; other embeddings are each side's own.
        x_BTD = Embeddings(c, name=f"{name}_embeddings")(token_table, inputs, deterministic)
        segments, ranks, positions = inputs["segments"], inputs["ranks"], inputs["positions"]
        length, causal = x_BTD.shape[1], name == "decoder"
        bias = distances = None
        if c.positions.endswith("relative_bias"):
            bidirectional = not causal or c.relative_bidirectional
            bias = RelativeBias(c, bidirectional=bidirectional, name=f"{name}_relative_bias")(length)
        elif c.positions == "disentangled":
            distances = DisentangledDistances(c, name=f"{name}_relative")(length)
        elif c.positions == "transformer_xl":
            types = inputs["token_types"]
            distances = transformer_xl_distances(c, length, jnp.arange(length)[None], types, types)
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
            distances=distances,
        )
        if memory is not None:
            across = _across(segments, memory[1], x_BTD, memory[0])
            context = context.replace(memory=memory[0], memory_visibility=across)
        extra = {}
        if c.positions == "transformer_xl":
            init = nn.with_logical_partitioning(initializer(c, "embedding"), (axes.EMBED,))
            mask_D = self.param(f"{name}_mask_embedding", init, (c.width,), jnp.float32)
            if places is not None:
                extra["queries"] = self._query_stream(mask_D, context, inputs, places, length, deterministic)
        if c.enhanced_decoder and "mlm" in c.heads_out:
            table = Table(c.max_positions, c.width, c, axes.POSITIONS, name="enhanced_decoder_position")
            extra["enhance"] = table(context.positions)
        return module(x_BTD, context, deterministic, collect, **extra)

    def _query_stream(self, mask_D, context, inputs, places_BP, length, deterministic):
        """XLNet's second stream: at the places to predict, a vector that knows its place but not its token."""
        c = self.config

        def at(array_BT):
            return None if array_BT is None else jnp.take_along_axis(array_BT, places_BP, axis=1)

        seen = context.visibility
        types = inputs["token_types"]
        distances = transformer_xl_distances(c, length, places_BP, at(types), types)
        ranks = jnp.zeros((places_BP.shape[0], length), jnp.int32) if seen.key_ranks is None else seen.key_ranks
        visibility = seen.replace(
            strict=True, query_segments=at(seen.key_segments), query_ranks=at(ranks), key_ranks=ranks
        )  # fmt: skip
        states = jnp.broadcast_to(mask_D.astype(c.dtype), (*places_BP.shape, c.width))
        states = dropout(self, states, c.dropout, deterministic)
        return states, context.replace(visibility=visibility, distances=distances)

    def _token_heads(self, outputs, table, batch, deterministic):
        """Heads that score each token."""
        c = self.config
        scored, places = outputs.hidden, batch.get("prediction_positions")
        found = {}
        if outputs.query_hidden is not None:
            scored = outputs.query_hidden
        elif places is not None:
            scored = gather(scored, places)
        if "lm" in c.heads_out:
            found["logits"] = VocabularyHead(c, c.lm_bias, name="lm_head")(scored, table)
        if "mlm" in c.heads_out:
            found["logits"] = MaskedHead(c, name="mlm_head")(scored, table)
        if "sbo" in c.heads_out:
            if "span_left" not in batch:
                raise ConfigError(
                    "model.heads_out: sbo needs rows with the ends of spans, which this objective has not"
                )
            left, right = gather(outputs.hidden, batch["span_left"]), gather(outputs.hidden, batch["span_right"])
            head = BoundaryHead(c, name="sbo_head")
            found["boundary_logits"] = head(left, right, batch["span_offsets"], table)
        if "tag" in c.heads_out:
            found["tag_logits"] = Classifier(c, c.num_labels, name="tagger")(outputs.hidden, deterministic)
        if "span" in c.heads_out:
            found["span_logits"] = Classifier(c, 2, name="span_head")(outputs.hidden, deterministic)
        if "rtd" in c.heads_out:
            head = Classifier(c, 1, transform=True, name="rtd_head")
            found["replaced_logits"] = head(outputs.hidden, deterministic)[..., 0]
        if "copy" in c.heads_out:
            # A head of pretraining, which as "rtd" has no dropout of its own.
            found["copy_logits"] = Classifier(c, 1, name="copy_head")(outputs.hidden, True)[..., 0]
        return outputs.replace(**found)

    def _row_heads(self, outputs, inputs, batch, deterministic):
        """Heads that score a whole row."""
        c = self.config
        if not {"nsp", "pooler", "class", "choice"} & set(c.heads_out):
            return outputs
        state = pool(outputs.hidden, c, inputs["segments"], batch.get("pool_positions"))
        pooled = Pooler(c, name="pooler")(state, deterministic)
        found = {"pooled": pooled}
        if "nsp" in c.heads_out:
            init = initializer(c, "head")
            head = Linear(2, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="nsp_head")
            found["nsp_logits"] = head(pooled).astype(jnp.float32)
        if "class" in c.heads_out:
            head = Classifier(c, c.num_labels, c.classifier_bias, name="classifier")
            found["class_logits"] = head(pooled, deterministic)
        if "choice" in c.heads_out:
            found["class_logits"] = Classifier(c, 1, name="classifier")(pooled, deterministic)
        return outputs.replace(**found)


def _pass(x_BTD, *_, **__):
    """Stands in for the encoder of shared stacks while parameters are made."""
    return x_BTD, None, None


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
