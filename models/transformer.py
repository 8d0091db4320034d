"""The one transformer: an encoder, a decoder or both, with the heads that an objective asks for."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cloze.models import adapters, axes
from cloze.models.dropout import dropout
from cloze.models.embeddings import Embeddings, Table
from cloze.models.heads import Body, with_heads
from cloze.models.initializers import initializer
from cloze.models.inputs import Visibility, stream
from cloze.models.layers import Context
from cloze.models.outputs import Outputs
from cloze.models.pooling import gather
from cloze.models.positions import RelativeBias
from cloze.models.relative import DisentangledDistances, transformer_xl_distances
from cloze.models.stack import Stack


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
    def __call__(self, batch, deterministic=True, collect=False, cache=None):
        """Runs the model.

        Args:
            batch: dict of arrays, see models.inputs.
            deterministic: False draws dropout from the "dropout" random stream.
            collect: also return the states between layers.
            cache: models.cache.Cache. Once it is started, the decoder's tokens are the next ones of their rows, and of
                a batch only they are read; there is no encoder to run. See `decoding`.

        Returns:
            Outputs.
        """
        body = functools.partial(self._body, deterministic=deterministic, collect=collect, cache=cache)
        return with_heads(body, self.config, batch, deterministic)

    def _body(self, batch, deterministic, collect, cache):
        """The Body of a batch with one text a row."""
        c = self.config
        table = Table(
            c.padded_vocab, c.embedding_width, c, axes.VOCAB, c.padded_vocab - c.vocab_size, name="token"
        )  # fmt: skip
        run = dict(token_table=table, deterministic=deterministic, collect=collect)
        encoder_hidden = encoder_states = None
        places = batch.get("prediction_positions")
        inputs, started = stream(batch), cache is not None and cache.started
        prompt = 0 if started else c.prompt_length  # in front of the first stack; a started cache has it already
        behind = functools.partial(adapters.text_only, length=prompt)
        seen = adapters.make_room(inputs, prompt)
        if c.architecture == "encoder_decoder":
            decoder = Stack(c, c.decoder_layers, 0 if c.shared_stacks else self.frozen_decoder, name="decoder")
            encoder = decoder if c.shared_stacks else Stack(c, c.layers, self.frozen_encoder, name="encoder")
            if c.shared_stacks and self.is_initializing():
                encoder = _pass  # the decoder makes the parameters, those of cross-attention among them
            if not started:
                encoder_hidden, _, encoder_states, _ = self._stack("encoder", encoder, seen, prompt=prompt, **run)
            memory = (encoder_hidden, cache.memory_segments if started else seen["segments"])
            cache = None if cache is None else cache.replace(memory_segments=memory[1])
            encoder_hidden, encoder_states = behind(encoder_hidden), behind(encoder_states)
            inputs = stream(batch, "decoder_")
            hidden, queries, states, cache = self._stack("decoder", decoder, inputs, memory=memory, cache=cache, **run)
        else:
            frozen = self.frozen_encoder if c.architecture == "encoder" else self.frozen_decoder
            module = Stack(c, c.layers, frozen, name=c.architecture)
            hidden, queries, states, cache = self._stack(
                c.architecture, module, seen, places=places, cache=cache, prompt=prompt, **run
            )
            hidden, states = behind(hidden), behind(states)
        outputs = Outputs(
            hidden=hidden,
            query_hidden=queries,
            hidden_states=states,
            encoder_hidden=encoder_hidden,
            encoder_hidden_states=encoder_states,
            cache=cache,
        )
        scored = queries if queries is not None else hidden if places is None else gather(hidden, places)
        return Body(c, outputs, batch, deterministic, table, scored, segments=inputs["segments"])

    def _stack(
        self, name, module, inputs, *, token_table, deterministic, collect, memory=None, places=None, cache=None,
        prompt=0,
    ):  # fmt: skip
        """Embeds one stream, behind its prompt if it has one, and runs its stack; returns what the stack returns."""
        c = self.config
        next_places = cache.places(inputs["tokens"].shape[1]) if cache is not None and cache.started else None
        if next_places is not None:
            inputs = {**inputs, "positions": next_places}
        # The two sides of an encoder-decoder share the token table; other embeddings are each side's own.
        prompt_PE = adapters.Prompt(c, name=f"{name}_prompt")() if prompt else None
        x_BTD = Embeddings(c, name=f"{name}_embeddings")(token_table, inputs, deterministic, prompt_PE)
        segments, ranks, positions = inputs["segments"], inputs["ranks"], inputs["positions"]
        length, causal = x_BTD.shape[1], name == "decoder"
        bias = distances = None
        if c.positions.endswith("relative_bias"):
            bidirectional = not causal or c.relative_bidirectional
            bias = RelativeBias(c, bidirectional=bidirectional, name=f"{name}_relative_bias")(
                length if next_places is None else cache.length, next_places
            )
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
        if next_places is not None:
            context = context.replace(visibility=cache.visibility(length, c.window))
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
        return module(x_BTD, context, deterministic, collect, cache=cache, **extra)

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


def _pass(x_BTD, *_, **__):
    """Stands in for the encoder of shared stacks while parameters are made."""
    return x_BTD, None, None, None


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
