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
        padding = c.padded_vocab - c.vocab_size
        table = Table(c.padded_vocab, c.embedding_width, c, axes.VOCAB, padding, name="token")
        run = functools.partial(self._stack, token_table=table, deterministic=deterministic, collect=collect)
        # The prompt is in front of the first stack; a started cache has it already.
        prompt = 0 if _started(cache) else c.prompt_length
        inputs, places_BP = stream(batch), batch.get("prediction_positions")
        first = adapters.make_room(inputs, prompt)
        if c.architecture == "encoder_decoder":
            inputs = stream(batch, "decoder_")
            outputs = self._encoder_decoder(run, first, inputs, prompt, cache)
        else:
            frozen = self.frozen_encoder if c.architecture == "encoder" else self.frozen_decoder
            stack = Stack(c, c.layers, frozen, name=c.architecture)
            outputs = run(c.architecture, stack, first, prompt=prompt, places_BP=places_BP, cache=cache)
        outputs = adapters.text_only(outputs, prompt)
        scored = outputs.query_hidden
        if scored is None:
            scored = outputs.hidden if places_BP is None else gather(outputs.hidden, places_BP)
        return Body(c, outputs, batch, deterministic, table, scored, segments=inputs["segments"])

    def _encoder_decoder(self, run, inputs, decoder_inputs, prompt, cache):
        """Outputs of the decoder and the encoder; once a cache is started, of the decoder alone."""
        c = self.config
        frozen = 0 if c.shared_stacks else self.frozen_decoder
        decoder = Stack(c, c.decoder_layers, frozen, crosses=True, name="decoder")
        if _started(cache):
            return run("decoder", decoder, decoder_inputs, memory=(None, cache.memory_segments), cache=cache)
        encoder = decoder if c.shared_stacks else Stack(c, c.layers, self.frozen_encoder, name="encoder")
        encoded = run("encoder", encoder, inputs, prompt=prompt)
        memory = encoded.hidden, inputs["segments"]
        cache = None if cache is None else cache.replace(memory_segments=inputs["segments"])
        outputs = run("decoder", decoder, decoder_inputs, memory=memory, cache=cache)
        return outputs.replace(encoder_hidden=encoded.hidden, encoder_hidden_states=encoded.hidden_states)

    def _stack(
        self, name, stack, inputs, *, token_table, deterministic, collect, prompt=0, memory=None, places_BP=None,
        cache=None,
    ):  # fmt: skip
        """Outputs of one stack: embeds its stream, behind a prompt if it has one, and runs it.

        Args:
            name: encoder or decoder.
            stack: Stack.
            inputs: models.inputs.stream, with room for the prompt.
            token_table: embeddings.Table, which both sides of an encoder-decoder share; other embeddings are a side's.
            deterministic, collect, cache: as above.
            prompt: vectors in front of the tokens.
            memory: (states [B, S, D] of the encoder or None where the cache has what is read of them, segments [B, S]
                or None) for cross-attention; None: there is none.
            places_BP: the places to predict, or None.
        """
        c, started, causal = self.config, _started(cache), name == "decoder"
        if started:
            inputs = {**inputs, "positions": cache.places(inputs["tokens"].shape[1])}
        prompt_PE = adapters.Prompt(c, name=f"{name}_prompt")() if prompt else None
        x_BTD = Embeddings(c, name=f"{name}_embeddings")(token_table, inputs, deterministic, prompt_PE)
        length, segments, ranks, types = x_BTD.shape[1], inputs["segments"], inputs["ranks"], inputs["token_types"]
        in_order = np.arange(length)[None]
        placement = Placement(
            positions=jnp.asarray(in_order) if inputs["positions"] is None else inputs["positions"],
            length=cache.length if started else length,
            index=inputs["positions"] if started else in_order,
            query_types=types,
            key_types=types,
        )
        schemes = dict.fromkeys(block.positions for block in c.blocks)
        shared = {scheme: scheme.share(c, name, causal, placement) for scheme in schemes}
        memory_BSD, memory_segments = (None, None) if memory is None else memory
        across = None if memory is None else _across(segments, memory_segments, x_BTD, memory_BSD)

        def context(block):
            if started:
                visibility = cache.visibility(length, block.window)
            else:
                visibility = Visibility(
                    causal=causal, window=block.window, query_segments=segments, key_segments=segments,
                    query_ranks=ranks, key_ranks=ranks,
                )  # fmt: skip
            return Context(visibility, shared[block.positions], memory_BSD, across)

        contexts = tuple(context(block) for block in c.blocks)
        route = c.scheme.route(self, name, contexts, placement, places_BP, deterministic)
        hidden, queries, states, cache = stack(x_BTD, contexts, deterministic, collect, route, cache)
        return Outputs(hidden, query_hidden=queries, hidden_states=states, cache=cache)


def _started(cache):
    return cache is not None and cache.started


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
