"""A generator is the published one, stores nothing twice, and draws from its own softmax."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze import models
from cloze.models import names
from cloze.models.composites import CorrectivePair, Distillation, ReplacedPair, narrower
from cloze.models.composites.generator import put, sample
from cloze.training import trainable
from tests.models import tiny

UNLIKELY = 1e-6
SMALL = dict(family="electra", preset="small", vocab_size=97, vocab_multiple=8, width=32, embedding_width=16, heads=4)
SMALL |= dict(ffn=64, layers=2, max_positions=64, dropout=0.0, attention_dropout=0.0)
NORM = "encoder_embeddings/norm"
TABLES = ("token/embedding", "encoder_embeddings/position/embedding", "encoder_embeddings/token_type/embedding")


def main_config(**changes):
    return models.resolve(SMALL | changes, heads_out=("rtd",))


def pair(tie="embeddings", width=0.25, layers=1.0, **changes):
    config = main_config(**changes)
    return ReplacedPair(narrower(config, width, layers), config, tie)


def new(model, scale=0.2):
    """Parameters from a normal distribution; nothing is compiled for them."""
    rng = np.random.default_rng(0)
    shapes = models.parameters(model).shapes
    return names.unflatten({name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    "family, size, width, layers, generator",
    [
        ("electra", "small", 1 / 4, 1, "small_generator"),
        ("electra", "small", 1.0, 1.0, "small_plus_generator"),
        ("electra", "base", 1 / 3, 1, "base_generator"),
        ("electra", "large", 1 / 4, 1, "large_generator"),
        ("deberta", "v3_xsmall", 1, 1 / 2, "v3_xsmall_generator"),
        ("deberta", "v3_small", 1, 1 / 2, "v3_small_generator"),
        ("deberta", "v3_base", 1, 1 / 2, "v3_base_generator"),
        ("deberta", "v3_large", 1, 1 / 2, "v3_large_generator"),
        ("coco_lm", "base", 1, 1 / 3, "base_auxiliary"),
        ("coco_lm", "large", 1, 1 / 4, "large_auxiliary"),
    ],
)
def test_generators_are_the_published_ones(family, size, width, layers, generator):
    made = narrower(models.resolve(dict(family=family, preset=size)), width, layers)
    assert dataclasses.replace(made, preset=generator) == models.resolve(dict(family=family, preset=generator))


@hypothesis.given(st.integers(1, 12), st.integers(1, 96), st.floats(0.01, 1.0), st.integers(1, 24))
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_share_gives_a_generator_whose_heads_are_about_as_wide(heads, head_dim, share, layers):
    config = main_config(heads=heads, width=heads * head_dim, ffn=4 * heads * head_dim, layers=layers)
    made = narrower(config, share, share)
    assert made.width % made.heads == 0 and made.head_dim == made.width // made.heads
    assert made.heads == 1 or made.head_dim >= head_dim
    assert 1 <= made.layers <= layers and abs(made.width - max(1, share * config.width)) <= 0.5
    assert made.embedding_width == config.embedding_width


@pytest.mark.parametrize("tie", ["embeddings", "all", "none", "disentangled"])
def test_shared_parameters_are_stored_once(tie):
    model = pair(tie, width=1.0 if tie == "all" else 0.25)
    kept, parts = (
        models.parameters(model).shapes,
        {name: models.parameters(p).shapes for name, p in model.parts.items()},
    )
    generator = {name.removeprefix("generator/") for name in kept if name.startswith("generator/")}
    missing = set(parts["generator"]) - generator
    if tie == "embeddings":
        assert missing == {*TABLES, f"{NORM}/scale", f"{NORM}/bias"}
    elif tie == "all":
        assert {name.split("/")[0] for name in generator} == {"mlm_head"}
    else:
        assert not missing
    main = {name.removeprefix("discriminator/") for name in kept if name.startswith("discriminator/")}
    renamed = {"token/embedding": "token/delta"} if tie == "disentangled" else {}
    assert main == {renamed.get(name, name) for name in parts["discriminator"]}
    params = new(model)
    for name, part in model.parts.items():
        module, tree = model.part(params, name)
        assert module is part and {n: x.shape for n, x in names.flatten(tree).items()} == parts[name]


def test_electra_small_is_as_large_as_published():
    """Discriminator 13,549,057 and generator 4,620,026 parameters, less what they share."""
    config = models.resolve(dict(family="electra", preset="small"), heads_out=("rtd",))
    made = models.parameters(ReplacedPair(narrower(config, 0.25, 1.0), config, "embeddings"))
    shared = 128 * (30522 + 512 + 2 + 2)
    assert trainable.count(made.shapes, made.axis_names, config) == 13_549_057 + 4_620_026 - shared


def test_the_difference_begins_at_zero_and_is_added():
    model = pair("disentangled")
    params = model.store({name: new(part) for name, part in model.parts.items()})
    generator, delta = params["generator"]["token"]["embedding"], params["discriminator"]["token"]["delta"]
    assert not delta.any() and generator.any() and delta.shape == generator.shape
    params["discriminator"]["token"]["delta"] = delta + 0.5
    np.testing.assert_array_equal(model.part(params, "discriminator")[1]["token"]["embedding"], generator + 0.5)
    np.testing.assert_array_equal(model.part(params, "generator")[1]["token"]["embedding"], generator)


def batch_of(rows=6, length=12, hidden=3, seed=0):
    rng = np.random.default_rng(seed)
    batch = tiny.batch("bert", rows, length)
    batch["prediction_positions"] = np.sort(rng.permuted(np.tile(np.arange(length), (rows, 1)), axis=1)[:, :hidden])
    batch["target_weights"] = np.ones((rows, hidden), np.float32)
    batch["target_weights"][0, -1] = 0
    batch["prediction_positions"][0, -1] = 0
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), rows)
    return batch | {"sample_key": np.asarray(jax.random.key_data(keys))}


@pytest.fixture(scope="module")
def filled():
    """(model, parameters, batch, outputs) of one run."""
    model, batch = pair(), batch_of()
    params = new(model)
    return model, params, batch, jax.jit(model.apply)({"params": params}, batch)


def test_every_hidden_token_and_no_other_is_drawn_anew(filled):
    _, _, batch, outputs = filled
    expected = batch["tokens"].copy()
    for row, places, used, drawn in zip(
        expected, batch["prediction_positions"], batch["target_weights"], np.asarray(outputs.sampled), strict=True
    ):
        for place, weight, token in zip(places, used, drawn, strict=True):
            if weight:
                row[place] = token
    np.testing.assert_array_equal(outputs.tokens, expected)
    assert (expected != batch["tokens"]).any()


def test_each_part_computes_what_it_does_alone(filled):
    model, params, batch, outputs = filled
    module, tree = model.part(params, "generator")
    alone = jax.jit(module.apply)({"params": tree}, batch).logits
    np.testing.assert_allclose(outputs.generator_logits, alone, rtol=1e-5, atol=1e-6)
    module, tree = model.part(params, "discriminator")
    alone = jax.jit(module.apply)({"params": tree}, {"tokens": outputs.tokens}).heads["rtd"]
    np.testing.assert_allclose(outputs.main.heads["rtd"], alone, rtol=1e-5, atol=1e-6)


def test_a_row_is_drawn_by_its_own_key_whatever_rows_are_beside_it(filled):
    model, params, batch, outputs = filled
    part = {name: array[2:5] for name, array in batch.items()}
    np.testing.assert_array_equal(jax.jit(model.apply)({"params": params}, part).sampled, outputs.sampled[2:5])
    other = batch | {"sample_key": batch["sample_key"][::-1].copy()}
    assert (np.asarray(jax.jit(model.apply)({"params": params}, other).sampled) != outputs.sampled).any()


def test_draws_follow_the_softmax_and_are_independent():
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 1.5, (1, 2, 7)), jnp.float32)
    count = 20_000
    keys = jax.random.key_data(jax.random.split(jax.random.key(3, impl="threefry2x32"), count))
    drawn = np.asarray(jax.jit(sample)(jnp.broadcast_to(logits, (count, 2, 7)), keys))
    probabilities = np.exp(np.asarray(logits[0], np.float64))
    for place in range(2):
        expected = count * probabilities[place] / probabilities[place].sum()
        assert stats.chisquare(np.bincount(drawn[:, place], minlength=7), expected).pvalue > UNLIKELY
    together = np.zeros((7, 7))
    np.add.at(together, (drawn[:, 0], drawn[:, 1]), 1)
    assert stats.chi2_contingency(together + 1e-9).pvalue > UNLIKELY
    assert not jax.grad(lambda x: sample(x, keys[:1]).astype(jnp.float32).sum())(logits).any()


def test_unused_slots_put_nothing():
    batch = {"prediction_positions": np.array([[1, 0], [0, 0]]), "target_weights": np.array([[1.0, 0.0], [0.0, 0.0]])}
    got = put(batch, np.zeros((2, 3), np.int32), np.full((2, 2), 7, np.int32))
    np.testing.assert_array_equal(got, [[0, 7, 0], [0, 0, 0]])


def test_parts_and_views_drop_differently():
    config = models.resolve(SMALL | dict(family="coco_lm", preset="base", embedding_width=32, layers=1, dropout=0.5))
    model = CorrectivePair(narrower(config, 1.0, 1.0), config, "all")
    batch = batch_of(rows=2)
    # The crop is the text that the main model reads: only dropout can tell the two views apart.
    batch["target_weights"] = np.zeros_like(batch["target_weights"])
    batch |= {"crop_tokens": batch["tokens"], "crop_segments": np.ones_like(batch["tokens"])}
    params = new(model)
    apply = jax.jit(model.apply, static_argnums=2)
    still = apply({"params": params}, batch, True)
    np.testing.assert_allclose(still.crop, still.main.hidden[:, 0], rtol=1e-4, atol=1e-5)
    moved = apply({"params": params}, batch, False, {"dropout": jax.random.key(0)})
    assert np.abs(moved.crop - moved.main.hidden[:, 0]).max() > 0.1
    again = apply({"params": params}, batch, False, {"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(moved.crop, again.crop)


def test_a_teacher_has_no_dropout():
    config = models.resolve(SMALL | dict(dropout=0.5, layers=1), heads_out=("mlm",))
    model = Distillation(config, config)
    apply = jax.jit(model.apply, static_argnums=2)
    batch = {"tokens": tiny.batch("bert", 2)["tokens"]}
    params = new(model)
    first, second = (apply({"params": params}, batch, False, {"dropout": jax.random.key(n)}) for n in (0, 1))
    np.testing.assert_array_equal(first.teacher.logits, second.teacher.logits)
    assert (np.asarray(first.student.logits) != second.student.logits).any()
