"""Every family, at a tiny size: scanned equals unrolled, eight devices equal one, and every head gives its output."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from cloze import models
from cloze.models import names
from cloze.parallel import mesh as meshes
from tests.faults import CHAOS

VOCAB, ROWS, LENGTH, PLACES = 97, 4, 12, 4
BEFORE_TRANSFORMERS = ("elmo", "glove", "lstm", "skip_gram")  # have tests of their own
PRESETS = {f: next(iter(models.presets(f))) for f in models.families() if f not in BEFORE_TRANSFORMERS}
# Settings of what others have, too: their programs differ in nothing that a mesh or a loop could break. Parity tests
# run all of them.
ALIKE = (
    "distilbert", "electra", "flaubert", "gemma", "gpt1", "gpt2", "mistral", "qwen2", "qwen3", "roberta", "spanbert",
    "unilm",
)  # fmt: skip
CASES = [(family, preset, ()) for family, preset in PRESETS.items() if family not in ALIKE] + [
    ("deberta", "v3_base", ()),
    ("flaubert", "large_cased", ()),
    ("t5", "shared_base", ()),
    ("t5", "prefix_lm_base", ()),
]


@functools.cache
def config(family, preset, changes=()):
    """The preset with everything small; what makes it itself stays."""
    full = models.resolve(dict(family=family, preset=preset))
    small = dict(layers=2, width=32, heads=4, ffn=64, vocab_size=VOCAB, vocab_multiple=8)
    small |= dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "final_dropout"), 0.0)
    if full.decoder_layers:
        small["decoder_layers"] = 2
    if full.kv_heads != full.heads:
        small["kv_heads"] = 2
    if full.head_dim != full.width // full.heads:
        small["head_dim"] = 16
    if full.embedding_width != full.width:
        small["embedding_width"] = 16
    if full.max_positions:
        small["max_positions"] = LENGTH
    if full.positions == "disentangled":
        small |= dict(
            relative_span=5 if not full.relative_buckets else 16, relative_buckets=min(full.relative_buckets, 4)
        )
    if family == "gpt3":
        small["pattern"] = ({}, {"window": 3})
    elif full.window:
        small |= dict(window=3, pattern=tuple(map(dict, full.pattern[-2:])))
    elif full.pattern:
        blocks = [dict(block) for block in full.pattern]
        small |= dict(layers=1 + len(blocks), pattern=tuple(block | {"window": 3} if block else {} for block in blocks))
    return models.resolve(dict(family=family, preset=preset, **small, **dict(changes)))


def batch(family, c, seed=0):
    """Two packed segments and padding, and whatever else the family reads."""
    rng = np.random.default_rng(seed)

    def ids(*shape, most=VOCAB):
        return rng.integers(0, most, shape).astype(np.int32)

    segments = np.tile(np.repeat([1, 2, 0], [6, 5, 1]).astype(np.int32), (ROWS, 1))
    made = {"tokens": ids(ROWS, LENGTH), "segments": segments}
    if c.token_types:
        made["token_types"] = ids(ROWS, LENGTH, most=c.token_types)
    if c.decoder_layers:
        made |= {"decoder_tokens": ids(ROWS, LENGTH), "decoder_segments": segments}
    if c.relative_bidirectional:
        made["ranks"] = np.tile(np.maximum(np.arange(LENGTH, dtype=np.int32) - 3, 0), (ROWS, 1))
    if family == "xlnet":
        made |= {
            "ranks": np.argsort(rng.random((ROWS, LENGTH))).astype(np.int32),
            "token_types": ids(ROWS, LENGTH, most=3),
        }
    if family in ("xlnet", "spanbert"):
        made["prediction_positions"] = ids(ROWS, PLACES, most=LENGTH - 1)
    if family == "spanbert":
        made |= {key: ids(ROWS, PLACES, most=LENGTH) for key in ("span_left", "span_right", "span_offsets")}
    return made


@functools.cache
def parameters(c, family):
    """Parameters from N(0, 0.2), so that none is at a value that hides it."""
    model = models.Transformer(c)
    made = models.parameters(model)
    rng = np.random.default_rng(1)
    drawn = {n: jnp.asarray(rng.normal(0, 0.2, shape), jnp.float32) for n, shape in made.shapes.items()}
    return names.unflatten(drawn), made.axis_names


def loss_function(c):
    """(parameters, batch) -> (a number that depends on all heads, (hidden, logits))."""
    model = models.Transformer(c)

    def loss(params, data):
        outputs = model.apply({"params": params}, data)
        scores = [given for name, given in outputs.heads.items() if name != "pooler"]
        return sum(jnp.square(x).mean() for x in scores), (outputs.hidden, outputs.logits)

    return loss


def mesh_sizes(c):
    """Meshes of eight devices: in `make test` one that cuts parameters, heads and rows, in `make chaos` all."""
    heads = 1 if c.kv_heads % 2 else 2
    every = [
        dict(data=1, fsdp=2, tensor=heads, sequence=-1),
        dict(data=2, fsdp=2, tensor=heads, sequence=-1),
        dict(data=1, fsdp=4, tensor=1, sequence=2),
        dict(data=4, fsdp=1, tensor=heads, sequence=-1),
        dict(data=2, fsdp=1, tensor=1, sequence=4),
    ]
    return every if CHAOS else every[:1]


@pytest.mark.parametrize("family, preset, changes", CASES)
def test_scanned_on_one_device_equals_unrolled_on_eight(family, preset, changes):
    c = config(family, preset, changes)
    params, axis_names = parameters(c, family)
    data = batch(family, c)
    scanned = jax.jit(jax.value_and_grad(loss_function(c), has_aux=True))
    (value, (hidden, logits)), gradient = scanned(params, data)
    assert np.isfinite(value)
    unused = [name for name, leaf in names.flatten(gradient).items() if not np.asarray(leaf).any()]
    assert not unused, "parameters that nothing depends on"

    shapes = {name: leaf.shape for name, leaf in names.flatten(params).items()}
    for sizes in mesh_sizes(c):
        mesh = meshes.make_mesh(sizes)
        placed = jax.device_put(params, meshes.placement(params, axis_names, shapes, mesh))
        rows = jax.device_put(data, meshes.row_sharding(mesh))
        with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
            unrolled = jax.jit(jax.value_and_grad(loss_function(dataclasses.replace(c, scan=False)), has_aux=True))
            (other_value, _), other = unrolled(placed, rows)
        np.testing.assert_allclose(other_value, value, rtol=1e-5, err_msg=str(sizes))
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6 + 2e-5 * float(jnp.abs(b).max()), err_msg=str(sizes))

    # The first segment does not know what stands in the second and in the padding. (Done here: it is compiled already.)
    changed = dict(data)
    for key in ("tokens", "decoder_tokens"):
        if key in data:
            changed[key] = np.where(data["segments"] == 1, data[key], (data[key] + 7) % VOCAB)
    (_, (other_hidden, other_logits)), _ = scanned(params, changed)
    first = data["segments"] == 1
    np.testing.assert_array_equal(np.asarray(other_hidden)[first], np.asarray(hidden)[first])
    assert not np.array_equal(np.asarray(other_hidden)[~first], np.asarray(hidden)[~first])
    if family == "xlnet":  # what the query stream predicts in the first segment
        inside = data["prediction_positions"] < 6
        assert inside.any() and not inside.all()
        np.testing.assert_array_equal(np.asarray(other_logits)[inside], np.asarray(logits)[inside])


HEADS = {
    "class": (ROWS, 3),
    "choice": (ROWS, 1),
    "tag": (ROWS, LENGTH, 3),
    "span": (ROWS, LENGTH, 2),
    "rtd": (ROWS, LENGTH),
    "copy": (ROWS, LENGTH),
    "pooler": (ROWS, 32),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_heads_give_what_they_say(family, head):
    c = dataclasses.replace(config(family, PRESETS[family]), heads_out=(head,), num_labels=3)
    data = batch(family, c)
    model = models.Transformer(c)
    init = jax.eval_shape(lambda: meta.unbox(model.init(jax.random.key(0), data)))
    outputs = jax.eval_shape(lambda params: model.apply(params, data), init)
    assert outputs.heads[head].shape == HEADS[head]
    assert set(outputs.heads) == {head} | ({"pooler"} if head in ("class", "choice") else set())
    given = {f.name for f in dataclasses.fields(outputs) if getattr(outputs, f.name) is not None}
    assert given <= {"heads", "hidden", "encoder_hidden", "features", "padded"}
    assert set(outputs.padded) == ({head} if head in ("lm", "mlm", "sbo") else set())
    assert ("features" in given) == (head in ("class", "choice", "tag", "span"))


def test_rows_are_read_at_the_place_that_the_family_names():
    """BERT reads the first token, decoders the last that is not padding, and a given place wins."""
    for family, place in (("bert", 0), ("gpt2", 10)):
        c = dataclasses.replace(config(family, PRESETS[family]), heads_out=("pooler",), pooler_activation="none")
        params, _ = parameters(c, family)
        data = batch(family, c)
        outputs = models.Transformer(c).apply({"params": params}, data)
        np.testing.assert_array_equal(outputs.pooled, outputs.hidden[:, place])
        outputs = models.Transformer(c).apply({"params": params}, {**data, "pool_positions": np.array([1, 2, 3, 4])})
        np.testing.assert_array_equal(outputs.pooled, outputs.hidden[np.arange(ROWS), [1, 2, 3, 4]])


def test_every_second_layer_has_the_window():
    """GPT-3's bands: with one layer, dense, a query sees the first key; with the odd layer alone it does not."""
    c = dataclasses.replace(config("gpt3", "125m"), heads_out=())
    model = models.Transformer(c)
    params, _ = parameters(dataclasses.replace(c, heads_out=("lm",)), "gpt3")
    data = {"tokens": batch("gpt3", c)["tokens"]}
    changed = {"tokens": data["tokens"].copy()}
    changed["tokens"][:, 0] += 1
    for layers, reaches in (((0,), True), ((1,), False)):
        kept = jax.tree.map(lambda leaf: leaf, params)
        stack = kept["decoder"]["layers"]
        for index in set(range(2)) - set(layers):  # a layer whose sublayers write nothing is not there
            for part in (stack["attention"]["output"], stack["ffn"]["down"]):
                part.update({name: leaf.at[index].set(0.0) for name, leaf in part.items()})
        difference = np.abs(
            np.asarray(model.apply({"params": kept}, data).hidden - model.apply({"params": kept}, changed).hidden)
        ).max(axis=(0, 2))
        assert (difference[1:3] > 0).all()
        assert (difference[3:] > 0).all() == reaches and (difference[3:] > 0).any() == reaches


def test_the_boundary_head_is_the_papers_formula():
    """f(x) = LN(gelu(W [left; right; place] + b)) twice, then the tied table and a bias (Joshi et al. 2020, 2.2)."""
    c = dataclasses.replace(config("spanbert", "base"), heads_out=("sbo",))
    params, _ = parameters(c, "spanbert")
    data = batch("spanbert", c)
    outputs = models.Transformer(c).apply({"params": params}, data)
    hidden, head, rows = np.asarray(outputs.hidden), params["sbo_head"], np.arange(ROWS)[:, None]
    place = np.asarray(head["position"]["embedding"])[data["span_offsets"]]
    x = np.concatenate([hidden[rows, data["span_left"]], hidden[rows, data["span_right"]], place], axis=-1)
    for layer in ("1", "2"):
        dense, norm = head[f"dense_{layer}"], head[f"norm_{layer}"]
        x = np.asarray(jax.nn.gelu(x @ dense["kernel"] + dense["bias"], approximate=False))
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + c.norm_epsilon)
        x = x * norm["scale"] + norm["bias"]
    expected = (x @ params["token"]["embedding"].T + head["bias"])[..., :VOCAB]
    np.testing.assert_allclose(outputs.heads["sbo"], expected, rtol=1e-4, atol=1e-4)


def test_a_shared_stack_is_two_stacks_with_equal_parameters():
    shared = config("t5", "shared_base")
    params, _ = parameters(shared, "t5")
    layers = params["decoder"]["layers"]
    encoder = {name: part for name, part in layers.items() if not name.startswith("cross_attention")}
    apart = {**params, "encoder": {"layers": encoder, "final_norm": params["decoder"]["final_norm"]}}
    data = batch("t5", shared)
    expected = models.Transformer(config("t5", "base")).apply({"params": apart}, data).logits
    np.testing.assert_allclose(models.Transformer(shared).apply({"params": params}, data).logits, expected, atol=1e-5)
