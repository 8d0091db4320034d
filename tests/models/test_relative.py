"""DeBERTa's and XLNet's attention against the formulas of their papers in plain loops, in f64."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze import models
from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import trainable

VOCAB, LENGTH, WIDTH, HEADS, SPAN = 40, 9, 12, 2, 4  # rows are longer than the longest distance told apart
_SMALL = dict(
    vocab_size=VOCAB, vocab_multiple=8, width=WIDTH, heads=HEADS, ffn=20, layers=2, dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
_DEBERTA = dict(family="deberta", preset="base", max_positions=LENGTH, relative_span=SPAN, **_SMALL)
DEBERTA = {
    "v1": _DEBERTA | dict(enhanced_decoder=0),
    "v2, unshared": _DEBERTA | dict(enhanced_decoder=0, attention_bias="qkvo"),
    "v3": _DEBERTA | dict(preset="v3_base", heads_out=("mlm",), relative_buckets=4, relative_span=6),
}
RANKS = np.array([4, 0, 6, 2, 8, 1, 7, 3, 5], np.int32)
XLNET = dict(family="xlnet", preset="base", activation_dropout=0.0, final_dropout=0.0, **_SMALL)


def made(settings):
    """(Transformer, parameters from N(0, 0.5), so that scores differ and nothing is at a value that hides it)."""
    model = models.Transformer(models.resolve(settings))
    batch = {"tokens": jnp.zeros((1, LENGTH), jnp.int32), "prediction_positions": jnp.zeros((1, 1), jnp.int32)}
    shapes = jax.eval_shape(lambda: meta.unbox(model.init(jax.random.key(0), batch))["params"])
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return model, jax.tree.unflatten(structure, [rng.normal(0, 0.5, x.shape).astype(np.float32) for x in leaves])


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, batch):
    return model.apply({"params": params}, batch, collect=True)


def row():
    """One row of random tokens; its last two places are padding."""
    tokens = np.random.default_rng(0).integers(5, VOCAB, (1, LENGTH)).astype(np.int32)
    return {"tokens": tokens, "segments": np.array([[1] * (LENGTH - 2) + [0] * 2], np.int32)}


def layer(params, index):
    """{name: f64 array} of one layer of the stack."""
    flat = names.flatten(params["encoder"]["layers"])
    return {name: np.asarray(leaf[index], np.float64) for name, leaf in flat.items()}


def linear(p, name, x):
    return x @ p[f"{name}/kernel"] + p.get(f"{name}/bias", 0.0)


def norm(p, name, x, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * p[f"{name}/scale"] + p[f"{name}/bias"]


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def heads(x):
    return x.reshape(len(x), HEADS, -1)


def attend(score, values_SHE, places, see):
    """Softmax attention of one row, pair by pair: score(h, i, j) of the i-th query, see(place, j); zeros of nothing."""
    out_THE = np.zeros((len(places), *values_SHE.shape[1:]))
    for h in range(HEADS):
        for i, place in enumerate(places):
            seen = [j for j in range(len(values_SHE)) if see(place, j)]
            weights = np.exp([score(h, i, j) for j in seen])
            for weight, j in zip(weights / weights.sum(), seen, strict=True):
                out_THE[i, h] += weight * values_SHE[j, h]
    return out_THE.reshape(len(places), -1)


def bucket(distance, buckets, longest):
    """He et al. 2023, section 3, after DeBERTa v2's code: exact up to the middle, then logarithmic."""
    middle = buckets // 2
    if abs(distance) <= middle:
        return distance
    log = math.log(abs(distance) / middle) / math.log((longest - 1) / middle) * (middle - 1)
    return int(math.copysign(math.ceil(log) + middle, distance))


def disentangled(config, params, p, x_TD, source_SD, see):
    """He et al. 2021, equation 4, but for delta(i, j) in place of delta(j, i), as in the released code."""
    table_RD = np.asarray(params["encoder_relative"]["embedding"], np.float64)
    if config.relative_norm:
        scale = {f"norm/{k}": np.asarray(v, np.float64) for k, v in params["encoder_relative"]["norm"].items()}
        table_RD = norm(scale, "norm", table_RD, config.norm_epsilon)
    shared = config.relative_shared
    q, k, v = (heads(linear(p, f"attention/{name}", s))
               for name, s in (("query", x_TD), ("key", source_SD), ("value", source_SD)))  # fmt: skip
    position_k = heads(linear(p, "attention/key" if shared else "attention/relative/position_key", table_RD))
    position_q = heads(linear(p, "attention/query" if shared else "attention/relative/position_query", table_RD))
    span = config.relative_buckets or config.relative_span

    def delta(i, j):
        distance = bucket(i - j, span, config.relative_span) if config.relative_buckets else i - j
        return 0 if distance <= -span else 2 * span - 1 if distance >= span else distance + span

    def score(h, i, j):
        to_position, from_position = q[i, h] @ position_k[delta(i, j), h], k[j, h] @ position_q[delta(i, j), h]
        return (q[i, h] @ k[j, h] + to_position + from_position) / math.sqrt(3 * q.shape[-1])

    return linear(p, "attention/output", attend(score, v, range(len(x_TD)), see))


def sinusoid(distance):
    """Dai et al. 2019, section 3.3: sines of all frequencies, then cosines."""
    angles = [distance / 10000 ** (2 * m / WIDTH) for m in range(WIDTH // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def transformer_xl(p, x_TD, places, source_SD, types, see):
    """Yang et al. 2019, appendix A.1: scores of contents, of distances and, with types, of same or other segment."""
    q, k, v = (heads(linear(p, f"attention/{name}", s))
               for name, s in (("query", x_TD), ("key", source_SD), ("value", source_SD)))  # fmt: skip
    r_w, r_r, r_s = (p[f"attention/relative/{n}_bias"].reshape(HEADS, -1) for n in ("content", "position", "segment"))
    segments = p["attention/relative/segment_embedding"].reshape(2, HEADS, -1)
    positions = p["attention/relative/position_key/kernel"]

    def score(h, i, j):
        place = places[i]
        distance = (sinusoid(place - j) @ positions).reshape(HEADS, -1)[h]
        found = (q[i, h] + r_w[h]) @ k[j, h] + (q[i, h] + r_r[h]) @ distance
        if types is not None:
            found += (q[i, h] + r_s[h]) @ segments[int(types[place] != types[j]), h]
        return found / math.sqrt(q.shape[-1])

    return linear(p, "attention/output", attend(score, v, places, see))


def block(config, p, x_TD, attended_TD):
    """What follows attention in a block with norms after the sums."""
    y = norm(p, "attention_norm", x_TD + attended_TD, config.norm_epsilon)
    return norm(p, "ffn_norm", y + linear(p, "ffn/down", gelu(linear(p, "ffn/up", y))), config.norm_epsilon)


@pytest.mark.parametrize("kind", DEBERTA)
def test_disentangled_attention_is_the_formula(kind):
    model, params = made(DEBERTA[kind])
    batch = row()
    segments = batch["segments"][0]
    states = np.asarray(run(model, params, batch).hidden_states[:, 0], np.float64)
    for index in range(model.config.layers):
        p, x = layer(params, index), states[index]
        attended = disentangled(model.config, params, p, x, x, lambda i, j: segments[i] == segments[j])
        np.testing.assert_allclose(block(model.config, p, x, attended), states[index + 1], atol=2e-5)


def test_transformer_xl_attention_is_the_formula():
    model, params = made(XLNET)
    batch = row() | {"token_types": np.array([[0] * 4 + [1] * 3 + [2] * 2], np.int32)}
    segments, types = batch["segments"][0], batch["token_types"][0]
    states = np.asarray(run(model, params, batch).hidden_states[:, 0], np.float64)
    for index in range(model.config.layers):
        p, x = layer(params, index), states[index]
        attended = transformer_xl(p, x, range(LENGTH), x, types, lambda i, j: segments[i] == segments[j])
        np.testing.assert_allclose(block(model.config, p, x, attended), states[index + 1], atol=2e-5)


def test_the_query_stream_is_the_formula():
    """Its queries start from the mask's vector, keys and values are the content stream's, of smaller ranks only."""
    model, params = made(XLNET)
    places = [6, 1, 3, 0]
    batch = row() | {"ranks": RANKS[None], "prediction_positions": np.array([places], np.int32)}
    segments, ranks = batch["segments"][0], batch["ranks"][0]
    found = run(model, params, batch)
    states = np.asarray(found.hidden_states[:, 0], np.float64)
    y = np.tile(np.asarray(params["encoder_mask_embedding"], np.float64), (len(places), 1))
    for index in range(model.config.layers):
        p, x = layer(params, index), states[index]

        def see(i, j, strict=False):
            return segments[i] == segments[j] and (ranks[j] < ranks[i] if strict else ranks[j] <= ranks[i])

        content = block(model.config, p, x, transformer_xl(p, x, range(LENGTH), x, None, see))
        np.testing.assert_allclose(content, states[index + 1], atol=2e-5)
        blind = functools.partial(see, strict=True)
        y = block(model.config, p, y, transformer_xl(p, y, places, x, None, blind))
    assert not any(blind(1, j) for j in range(LENGTH))  # the first of the order is among them
    np.testing.assert_allclose(found.query_hidden[0], y, atol=2e-5)


def test_the_query_stream_is_blind_to_its_own_token_and_to_later_ones():
    """Row r has another token at place r, the last row none: just the queries of larger ranks differ."""
    model, params = made(XLNET)
    tokens = np.tile(row()["tokens"], (LENGTH + 1, 1))
    tokens[range(LENGTH), range(LENGTH)] = 4  # none of the others
    places = np.tile(np.arange(LENGTH, dtype=np.int32), (LENGTH + 1, 1))
    batch = {"tokens": tokens, "ranks": np.tile(RANKS, (LENGTH + 1, 1)), "prediction_positions": places}
    found = np.asarray(run(model, params, batch).query_hidden)
    differ = np.abs(found[:-1] - found[-1]).max(-1) > 1e-6
    np.testing.assert_array_equal(differ, RANKS[None, :] > RANKS[:, None])


def test_the_enhanced_mask_decoder_is_the_last_layer_asked_again():
    """He et al. 2021, section 3.2: queries are states with absolute positions, keys and values those of layer L - 1."""
    model, params = made(_DEBERTA | dict(enhanced_decoder=2))
    plain = models.Transformer(models.resolve(_DEBERTA | dict(enhanced_decoder=2, heads_out=())))  # nothing to decode
    batch = row() | {"positions": np.array([[3, 4, 5, 0, 1, 2, 6, 7, 8]], np.int32)}
    segments = batch["segments"][0]
    states = run(plain, params, batch).hidden_states
    p, source = layer(params, model.config.layers - 1), np.asarray(states[-2, 0], np.float64)

    def last(y):
        see = lambda i, j: segments[i] == segments[j]  # noqa: E731
        return block(model.config, p, y, disentangled(model.config, params, p, y, source, see))

    np.testing.assert_allclose(states[-1, 0], last(source), atol=2e-5)
    positions = np.asarray(params["enhanced_decoder_position"]["embedding"], np.float64)[batch["positions"][0]]
    found = run(model, params, batch)
    np.testing.assert_allclose(found.hidden[0], last(last(source + positions)), atol=2e-5)
    np.testing.assert_allclose(found.hidden_states[:-1], states[:-1], atol=1e-5)


@pytest.mark.parametrize("buckets, span", [(1, 8), (8, 5)])
def test_logarithmic_buckets_need_room(buckets, span):
    with pytest.raises(ConfigError, match="relative_buckets"):
        models.resolve(DEBERTA["v3"] | dict(relative_buckets=buckets, relative_span=span))


def test_layers_below_a_trained_mask_vector_are_run_backward():
    """The query stream enters below the first layer, so that its vector learns only if no layer is cut off."""
    c = models.resolve(dict(family="xlnet", preset="base", layers=2, width=16, heads=2, ffn=16, vocab_size=VOCAB))
    shapes = models.parameters(models.build(c)).shapes
    frozen = (("token/.*", False), ("encoder/layers/.*", False))
    both = trainable.Split((*frozen, (".*", True)), shapes).frozen_layers()
    assert both["frozen_encoder"] == 0
    head = trainable.Split((*frozen, ("encoder_mask_embedding", False), (".*", True)), shapes).frozen_layers()
    assert head["frozen_encoder"] == 2
