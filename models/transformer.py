"""The one transformer: an encoder, a decoder or both, with the heads that an objective asks for."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cloze.models import adapters, axes
from cloze.models.embeddings import Embeddings, Table
from cloze.models.heads import Body, with_heads
from cloze.models.inputs import Visibility, stream
from cloze.models.layers import Context
from cloze.models.outputs import Outputs
from cloze.models.pooling import gather
from cloze.models.positions import Placement
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
            frozen = 0 if c.shared_stacks else self.frozen_decoder
            decoder = Stack(c, c.decoder_layers, frozen, crosses=True, name="decoder")
            encoder = decoder if c.shared_stacks else Stack(c, c.layers, self.frozen_encoder, name="encoder")
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
        started = cache is not None and cache.started
        if started:
            inputs = {**inputs, "positions": cache.places(inputs["tokens"].shape[1])}
        # The two sides of an encoder-decoder share the token table; other embeddings are each side's own.
        prompt_PE = adapters.Prompt(c, name=f"{name}_prompt")() if prompt else None
        x_BTD = Embeddings(c, name=f"{name}_embeddings")(token_table, inputs, deterministic, prompt_PE)
        length, in_order = x_BTD.shape[1], np.arange(x_BTD.shape[1])[None]
        segments, ranks, types = inputs["segments"], inputs["ranks"], inputs["token_types"]
        placement = Placement(
            positions=jnp.asarray(in_order) if inputs["positions"] is None else inputs["positions"],
            length=cache.length if started else length,
            index=inputs["positions"] if started else in_order,
            query_types=types,
            key_types=types,
        )
        visibility = Visibility(
            causal=name == "decoder",
            query_segments=segments,
            key_segments=segments,
            query_ranks=ranks,
            key_ranks=ranks,
        )
        schemes = dict.fromkeys(block.positions for block in c.blocks)
        shared = {scheme: scheme.share(c, name, visibility.causal, placement) for scheme in schemes}
        memory_BSD, memory_segments = (None, None) if memory is None else memory
        across = None if memory is None else _across(segments, memory_segments, x_BTD, memory_BSD)
        contexts = tuple(
            Context(
                visibility=cache.visibility(length, block.window)
                if started
                else visibility.replace(window=block.window),
                shared=shared[block.positions],
                memory=memory_BSD,
                memory_visibility=across,
            )
            for block in c.blocks
        )
        route = c.scheme.route(self, name, contexts, placement, places, deterministic)
        return module(x_BTD, contexts, deterministic, collect, route, cache)


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
