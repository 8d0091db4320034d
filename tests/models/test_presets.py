"""Every preset has exactly the published number of parameters."""

import pytest

from cloze import models
from cloze.training import trainable

COUNTS = {
    ("albert", "base"): 11_813_810,
    ("albert", "large"): 17_847_474,
    ("albert", "xlarge"): 59_021_490,
    ("albert", "xxlarge"): 223_158_450,
    ("bart", "base"): 139_420_416,
    ("bart", "large"): 406_291_456,
    ("bert", "base"): 110_106_428,
    ("bert", "base_cased"): 108_932_934,
    ("bert", "large"): 336_226_108,
    ("deberta", "base"): 139_244_121 + 512 * 768,  # published without the enhanced decoder's positions
    ("deberta", "large"): 406_264_921 + 512 * 1024,
    ("distilbert", "base"): 66_985_530,
    ("electra", "small"): 13_549_057,
    ("electra", "base"): 109_483_009,
    ("electra", "large"): 335_142_913,
    ("electra", "small_generator"): 4_620_026,
    ("electra", "small_plus_generator"): 13_546_682,
    ("electra", "base_generator"): 33_740_602,
    ("electra", "large_generator"): 51_295_290,
    ("flaubert", "base_cased"): 138_233_088 + 68_729,  # published without the head's bias
    ("gemma", "2b"): 2_506_172_416,
    ("gemma", "7b"): 8_537_680_896,
    ("gemma2", "2b"): 2_614_341_888,
    ("gemma2", "9b"): 9_241_705_984,
    ("gemma2", "27b"): 27_227_128_320,
    ("gemma3", "270m"): 268_098_176,
    ("gemma3", "1b"): 999_885_952,
    ("gemma3", "4b"): 3_880_263_168,
    ("gpt1", "base"): 116_534_784,
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
    ("llama", "1_7b"): 6_738_415_616,
    ("llama", "1_13b"): 13_015_864_320,
    ("llama", "1_33b"): 32_528_943_616,
    ("llama", "1_65b"): 65_285_660_672,
    ("llama", "2_7b"): 6_738_415_616,
    ("llama", "2_13b"): 13_015_864_320,
    ("llama", "2_70b"): 68_976_648_192,
    ("llama", "3_8b"): 8_030_261_248,
    ("llama", "3_70b"): 70_553_706_496,
    ("llama", "3.1_8b"): 8_030_261_248,
    ("llama", "3.1_70b"): 70_553_706_496,
    ("llama", "3.1_405b"): 405_853_388_800,
    ("llama", "3.2_1b"): 1_235_814_400,
    ("llama", "3.2_3b"): 3_212_749_824,
    ("mistral", "7b"): 7_241_732_096,
    ("modernbert", "base"): 149_655_232,
    ("modernbert", "large"): 395_881_664,
    ("olmo2", "1b"): 1_484_916_736,
    ("olmo2", "7b"): 7_298_617_344,
    ("olmo2", "13b"): 13_716_198_400,
    ("pythia", "70m"): 70_426_624,
    ("pythia", "160m"): 162_322_944,
    ("pythia", "410m"): 405_334_016,
    ("pythia", "1b"): 1_011_781_632,
    ("pythia", "1.4b"): 1_414_647_808,
    ("pythia", "2.8b"): 2_775_208_960,
    ("pythia", "6.9b"): 6_857_302_016,
    ("qwen2", "0.5b"): 494_032_768,
    ("qwen2", "1.5b"): 1_543_714_304,
    ("qwen2", "7b"): 7_615_616_512,
    ("qwen3", "0.6b"): 596_049_920,
    ("qwen3", "1.7b"): 1_720_574_976,
    ("qwen3", "4b"): 4_022_468_096,
    ("qwen3", "8b"): 8_190_735_360,
    ("roberta", "base"): 124_697_433,
    ("roberta", "large"): 355_412_057,
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
    ("xlnet", "base"): 116_718_336 + 32_000,  # published without the head's bias
    ("xlnet", "large"): 360_268_800 + 32_000,
}
# The body alone, with BERT's pooler or without any.
BARE = {
    ("albert", "base", "pooler"): 11_683_584,
    ("albert", "large", "pooler"): 17_683_968,
    ("albert", "xlarge", "pooler"): 58_724_864,
    ("albert", "xxlarge", "pooler"): 222_595_584,
    ("bert", "base", "pooler"): 109_482_240,
    ("bert", "base_cased", "pooler"): 108_310_272,
    ("bert", "large", "pooler"): 335_141_888,
    ("deberta", "base", ""): 138_601_728,
    ("deberta", "large", ""): 405_163_008,
    ("deberta", "v3_xsmall", ""): 70_682_112,
    ("deberta", "v3_small", ""): 141_304_320,
    ("deberta", "v3_base", ""): 183_831_552,
    ("deberta", "v3_large", ""): 434_012_160,
    ("distilbert", "base", ""): 66_362_880,
    ("electra", "small", ""): 13_483_008,
    ("electra", "base", ""): 108_891_648,
    ("electra", "large", ""): 334_092_288,
    ("roberta", "base", "pooler"): 124_645_632,
    ("roberta", "large", "pooler"): 355_359_744,
    ("spanbert", "base", "pooler"): 108_310_272,
    ("unilm", "large", "pooler"): 333_579_264 + 4 * 1024,  # BERT-large, cased, with four more token types
}
# Sizes for which no count is published, or that are another preset with other settings.
UNCOUNTED = {
    *(("coco_lm", size) for size in ("base", "base_auxiliary", "large", "large_auxiliary")),
    *(("deberta", f"v3_{size}{kind}") for size in ("xsmall", "small", "base", "large") for kind in ("", "_generator")),
    *(("t5", f"{kind}_base") for kind in ("shared", "half", "lm", "prefix_lm")),
    *(("transformer", size) for size in ("base", "big")),
    *((family, size) for family in ("spanbert", "unilm") for size in ("base", "large")),
    ("bert", "large_cased"),
    *((family, "base") for family in ("elmo", "glove", "lstm", "skip_gram")),
    ("elmo", "classifier"),
    ("flaubert", "large_cased"),
}


def parameter_count(family, preset, **changes):
    config = models.resolve(dict(family=family, preset=preset), **changes)
    made = models.parameters(models.build(config))
    return trainable.count(made.shapes, made.axis_names, config)


@pytest.mark.parametrize("family, preset", COUNTS)
def test_published_counts(family, preset):
    assert parameter_count(family, preset) == COUNTS[family, preset]


@pytest.mark.parametrize("family, preset, head", BARE)
def test_counts_without_pretraining_heads(family, preset, head):
    heads = (head,) if head else ()
    assert parameter_count(family, preset, heads_out=heads) == BARE[family, preset, head]


def test_variants_of_the_t5_study_share_what_they_say():
    """Sharing saves an encoder's layers; a decoder alone is such a stack with the table and a bias of its own."""
    whole, shared, alone = (parameter_count("t5", size) for size in ("base", "shared_base", "lm_base"))
    table, bias, norm = 32128 * 768, 32 * 12, 768
    stack = alone - table - bias - norm
    assert whole - shared == stack + norm
    cross_attention = 12 * (4 * 768 * 768 + 768)
    assert shared == table + 2 * bias + norm + stack + cross_attention


def test_every_preset_is_listed():
    known = {(f, p) for f in models.families() for p in models.presets(f)}
    assert known - set(COUNTS) == UNCOUNTED


def test_every_parameter_names_its_axes():
    for family in models.families():
        preset = next(iter(models.presets(family)))
        config = models.resolve(dict(family=family, preset=preset))
        made = models.parameters(models.build(config))
        assert made.shapes
        for name, shape in made.shapes.items():
            assert len(made.axis_names[name]) == len(shape)
            named = [axis for axis in made.axis_names[name] if axis is not None]
            assert set(named) <= models.axes.NAMES, name
            assert len(set(named)) == len(named), f"{name}: one mesh axis cannot cut two dimensions"
