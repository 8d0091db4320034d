"""The one transformer: an encoder, a decoder or both, with the heads that an objective asks for."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct

from cloze.errors import ConfigError
from cloze.models import adapters, axes
from cloze.models.embeddings import Embeddings, Table
from cloze.models.heads import (
    BoundaryHead,
    Classifier,
    MaskedHead,
    VocabularyHead,
    classify,
    example_states,
    fold_texts,
    gather,
    pool,
    unfold_texts,
)
from cloze.models.initializers import initializer
from cloze.models.inputs import Visibility, stream
from cloze.models.layers import Context
from cloze.models.positions import Placement
from cloze.models.primitives import Linear
from cloze.models.stack import Stack


@struct.dataclass
class Outputs:
    """What a model gives; None where not asked for. The head that gives it is in parentheses.

    Attributes:
        logits: f32 [B, T or P, V] over the vocabulary ("lm", "mlm").
        hidden: [B, T, D] output of the last stack.
        features: what classifiers of examples read of the body ("class", "choice": the state of each row, text in it or
            choice; "tag", "span": `hidden`); as `features` in a batch they stand for it.
        pooled: [B, D] ("nsp", "pooler", "class", "choice"); of packed texts or of choices [B, E or C, D].
        nsp_logits: f32 [B, 2]: B follows A, B is random ("nsp").
        class_logits: f32 [B, num_labels], of packed texts [B, E, num_labels] ("class"); [B, C], or [B, 1] of a single
            text a row ("choice").
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
        cache: models.cache.Cache with the decoder's tokens in it, if one was given.
    """

    logits: Any = None
    hidden: Any = None
    features: Any = None
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
    cache: Any = None


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
        c = self.config
        if "features" in batch:
            return self._classifiers(batch["features"], deterministic)
        batch, texts = fold_texts(batch)
        table = Table(
            c.padded_vocab, c.embedding_width, c, axes.VOCAB, c.padded_vocab - c.vocab_size, name="token"
        )  # fmt: skip
        run = dict(token_table=table, deterministic=deterministic, collect=collect)
        encoder_hidden = encoder_states = None
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
            places = batch.get("prediction_positions")
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
        outputs = self._token_heads(outputs, table, batch, deterministic)
        outputs = self._row_heads(outputs, inputs["segments"], batch.get("pool_positions"), texts, deterministic)
        return outputs.replace(hidden=unfold_texts(outputs.hidden, texts), logits=unfold_texts(outputs.logits, texts))

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
        found |= self._classify_tokens(outputs.hidden, deterministic)
        if "rtd" in c.heads_out:
            head = Classifier(c, 1, transform=True, name="rtd_head")
            found["replaced_logits"] = head(outputs.hidden, deterministic)[..., 0]
        if "copy" in c.heads_out:
            # A head of pretraining, which as "rtd" has no dropout of its own.
            found["copy_logits"] = Classifier(c, 1, name="copy_head")(outputs.hidden, True)[..., 0]
        return outputs.replace(**found)

    def _classify_tokens(self, hidden_BTD, deterministic):
        """Fields of Outputs: labels and spans of tokens, where there are heads for them, and what these read."""
        c = self.config
        found = {}
        if "tag" in c.heads_out:
            found["tag_logits"] = Classifier(c, c.num_labels, name="tagger")(hidden_BTD, deterministic)
        if "span" in c.heads_out:
            found["span_logits"] = Classifier(c, 2, name="span_head")(hidden_BTD, deterministic)
        return found | {"features": hidden_BTD} if found else found

    def _row_heads(self, outputs, segments, positions, texts, deterministic):
        """Heads that score a whole row, or each text in it."""
        c = self.config
        if not {"nsp", "pooler", "class", "choice"} & set(c.heads_out):
            return outputs
        state = example_states(pool(outputs.hidden, c, segments, positions), c, texts)
        found = classify(state, c, deterministic)
        if {"class", "choice"} & set(c.heads_out):
            found["features"] = state
        if "nsp" in c.heads_out:
            init = initializer(c, "head")
            head = Linear(2, (axes.EMBED, axes.SMALL), init, True, c.dtype, name="nsp_head")
            found["nsp_logits"] = head(found["pooled"]).astype(jnp.float32)
        return outputs.replace(**found)

    def _classifiers(self, features, deterministic):
        """The Outputs of classifiers over what the body gave earlier: of rows where there are such, else of tokens."""
        if {"class", "choice"} & set(self.config.heads_out):
            return Outputs(features=features, **classify(features, self.config, deterministic))
        return Outputs(**self._classify_tokens(features, deterministic))


def _across(query_segments, key_segments, x_BTD, memory_BSD):
    """Cross-attention: segments must match; a side without segments is one whole segment 1."""
    if query_segments is None and key_segments is None:
        return Visibility()
    if query_segments is None:
        query_segments = jnp.ones(x_BTD.shape[:2], jnp.int32)
    if key_segments is None:
        key_segments = jnp.ones(memory_BSD.shape[:2], jnp.int32)
    return Visibility(query_segments=query_segments, key_segments=key_segments)
