"""Every preset has exactly the published number of parameters."""

import jax
import jax.numpy as jnp
import pytest

import models
from training import trainable

COUNTS = {
    ("bert", "base"): 110_106_428,
    ("bert", "base_cased"): 108_932_934,
    ("bert", "large"): 336_226_108,
    ("gpt2", "small"): 124_439_808,
    ("gpt2", "medium"): 354_823_168,
    ("gpt2", "large"): 774_030_080,
    ("gpt2", "xl"): 1_557_611_200,
    ("gpt3", "125m"): 125_226_240,
    ("gpt3", "350m"): 355_871_744,
    ("gpt3", "760m"): 760_300_032,
    ("gpt3", "1.3b"): 1_315_723_264,
    ("gpt3", "2.7b"): 2_651_553_280,
    ("gpt3", "6.7b"): 6_658_404_352,
    ("gpt3", "13b"): 12_853_386_240,
    ("gpt3", "175b"): 174_604_259_328,
    ("t5", "small"): 60_506_624,
    ("t5", "base"): 222_903_552,
    ("t5", "large"): 737_668_096,
    ("t5", "3b"): 2_851_598_336,
    ("t5", "11b"): 11_307_321_344,
    ("t5", "v1_1_small"): 76_961_152,
    ("t5", "v1_1_base"): 247_577_856,
    ("t5", "v1_1_large"): 783_150_080,
    ("t5", "v1_1_xl"): 2_849_757_184,
    ("t5", "v1_1_xxl"): 11_135_332_352,
}
BARE = {("bert", "base"): 109_482_240, ("bert", "base_cased"): 108_310_272, ("bert", "large"): 335_141_888}


def parameter_count(family, preset, **changes):
    config = models.resolve(dict(family=family, preset=preset), **changes)
    batch = {"tokens": jnp.zeros((1, 4), jnp.int32)}
    if config.architecture == "encoder_decoder":
        batch["decoder_tokens"] = batch["tokens"]
    abstract, axis_names = trainable.abstract_parameters(models.Transformer(config), batch)
    return trainable.count({name: leaf.shape for name, leaf in abstract.items()}, axis_names, config)


@pytest.mark.parametrize("family, preset", COUNTS)
def test_published_counts(family, preset):
    assert parameter_count(family, preset) == COUNTS[family, preset]


@pytest.mark.parametrize("family, preset", BARE)
def test_counts_without_pretraining_heads(family, preset):
    assert parameter_count(family, preset, heads_out=("pooler",)) == BARE[family, preset]


def test_every_preset_is_listed():
    known = {(f, p) for f in models.config.FAMILIES for p in models.presets(f)}
    assert known - set(COUNTS) == {("bert", "large_cased")}


def test_every_parameter_names_its_axes():
    for family in models.config.FAMILIES:
        preset = next(iter(models.presets(family)))
        config = models.resolve(dict(family=family, preset=preset))
        batch = {"tokens": jnp.zeros((1, 4), jnp.int32), "decoder_tokens": jnp.zeros((1, 4), jnp.int32)}
        abstract, axis_names = trainable.abstract_parameters(models.Transformer(config), batch)
        for name, leaf in abstract.items():
            assert len(axis_names[name]) == len(leaf.shape)
            assert set(axis_names[name]) <= models.axes.NAMES | {None}, name
            assert isinstance(leaf, jax.ShapeDtypeStruct)
