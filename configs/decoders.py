"""Experiments with decoders: GPT, Llama and their kin, which predict the next token."""

from cloze import models
from cloze.configs import base, families

TINY_GPT = dict(
    model=dict(families.TINY_MODEL, layers=3),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=128),
    train=dict(families.TINY_RUN, steps=700),
    optimizer=dict(learning_rate=1e-3, warmup_steps=40, decay_steps=700),
    checkpoint=dict(every=500),
)
TINY_LLAMA = dict(TINY_GPT, model=dict(families.TINY_MODEL, layers=3, heads=4, ffn=512))  # three matrices, not two

# Peak rate, then where it runs. The rates are GPT-3's for models of these sizes.
GPT2_SIZES = {
    "small": dict(learning_rate=6e-4, devices=1, microbatches=8, remat="full"),
    "medium": dict(learning_rate=3e-4, devices=8, microbatches=8),
    "large": dict(learning_rate=2.5e-4, devices=16, remat="full"),
    "xl": dict(learning_rate=2e-4, devices=32, remat="full", fsdp=True),
}
# GPT-3's table 2.1: peak rate and rows of 2,048 tokens in a step (0.5M, 1M, 2M and 3.2M tokens; the last is 3.15M,
# so that it divides), then where it runs.
GPT3_SIZES = {
    "125m": dict(learning_rate=6e-4, batch_size=256, devices=8, microbatches=2, remat="full"),
    "350m": dict(learning_rate=3e-4, batch_size=256, devices=8, microbatches=2, remat="full"),
    "760m": dict(learning_rate=2.5e-4, batch_size=256, devices=16, fsdp=True, remat="full"),
    "1.3b": dict(learning_rate=2e-4, batch_size=512, devices=32, fsdp=True, remat="full"),
    "2.7b": dict(learning_rate=1.6e-4, batch_size=512, devices=64, fsdp=True, remat="full"),
    "6.7b": dict(learning_rate=1.2e-4, batch_size=1024, devices=128, fsdp=True, remat="full"),
    "13b": dict(learning_rate=1e-4, batch_size=1024, devices=256, fsdp=True, remat="full"),
    "175b": dict(learning_rate=6e-5, batch_size=1536, devices=1024, fsdp=True, tensor=8, microbatches=2, remat="full"),
}


# Llama 2's recipe (section 2.2), which stands in wherever a paper of its kin prints none; 2^22 tokens are its "4M".
LLAMA_RECIPE = dict(learning_rate=3e-4, batch_tokens=2**22, warmup_steps=2000, final_fraction=0.1)
# What Llama 1, 2 and 3 (with 3.1 and 3.2) differ in, then each size: `tokens` is the length of its run.
LLAMA_GENERATIONS = {
    "1": dict(kind="sentencepiece_bpe", vocab_size=32000, length=2048),
    "2": dict(kind="sentencepiece_bpe", vocab_size=32000, length=4096),
    "3": dict(kind="byte_bpe", vocab_size=128256, length=8192, warmup_steps=8000, final_fraction=0.01),
}
_SPLIT = dict(tensor=8, microbatches=4)
LLAMA_SIZES = {
    "1_7b": dict(learning_rate=3e-4, tokens=1e12, tiny_kv_heads=4, devices=128, microbatches=2),
    "1_13b": dict(learning_rate=3e-4, tokens=1e12, tiny_kv_heads=4, devices=256, microbatches=2),
    "1_33b": dict(learning_rate=1.5e-4, tokens=1.4e12, tiny_kv_heads=4, devices=512),
    "1_65b": dict(_SPLIT, learning_rate=1.5e-4, tokens=1.4e12, tiny_kv_heads=4, devices=1024),
    "2_7b": dict(learning_rate=3e-4, tokens=2e12, tiny_kv_heads=4, devices=128, microbatches=2),
    "2_13b": dict(learning_rate=3e-4, tokens=2e12, tiny_kv_heads=4, devices=256, microbatches=2),
    "2_70b": dict(_SPLIT, learning_rate=1.5e-4, tokens=2e12, tiny_kv_heads=2, devices=1024),
    "3_8b": dict(learning_rate=3e-4, tokens=15e12, tiny_kv_heads=2, devices=128, microbatches=4),
    "3_70b": dict(_SPLIT, learning_rate=1.5e-4, tokens=15e12, tiny_kv_heads=2, devices=1024),
    "3.1_8b": dict(learning_rate=3e-4, tokens=15e12, tiny_kv_heads=2, devices=128, microbatches=4),
    "3.1_70b": dict(_SPLIT, learning_rate=1.5e-4, tokens=15e12, tiny_kv_heads=2, devices=1024),
    "3.1_405b": dict(
        learning_rate=8e-5, batch_tokens=2**24, tokens=15.6e12, tiny_kv_heads=2, devices=8192, tensor=8, microbatches=2
    ),
    "3.2_1b": dict(learning_rate=3e-4, tokens=9e12, tiny_kv_heads=2, devices=64, microbatches=8),
    "3.2_3b": dict(learning_rate=3e-4, tokens=9e12, tiny_kv_heads=2, devices=64, microbatches=8),
}
PYTHIA_SIZES = {  # peak rate (Biderman et al. 2023, table 1), then where it runs, on as many devices as the paper's
    "70m": dict(learning_rate=1e-3, devices=32, microbatches=4),
    "160m": dict(learning_rate=6e-4, devices=32, microbatches=4),
    "410m": dict(learning_rate=3e-4, devices=32, microbatches=4),
    "1b": dict(learning_rate=3e-4, devices=64, microbatches=2),
    "1.4b": dict(learning_rate=2e-4, devices=64, microbatches=2),
    "2.8b": dict(learning_rate=1.6e-4, devices=64, microbatches=2),
    "6.9b": dict(learning_rate=1.2e-4, devices=128),
}
GEMMA_SIZES = {
    "2b": dict(tokens=3e12, tiny_kv_heads=1, devices=64, microbatches=8),
    "7b": dict(tokens=6e12, tiny_kv_heads=4, devices=128, microbatches=4),
}
QWEN2_SIZES = {
    "0.5b": dict(tokens=12e12, devices=32, microbatches=8),
    "1.5b": dict(tokens=7e12, devices=64, microbatches=8),
    "7b": dict(tokens=7e12, devices=128, microbatches=8),
}
QWEN3_SIZES = {
    "0.6b": dict(devices=32, microbatches=8),
    "1.7b": dict(devices=64, microbatches=8),
    "4b": dict(devices=128, microbatches=8),
    "8b": dict(devices=128, microbatches=8),
}
# OLMo 2's table 3; the 1B is of its released configuration. 7B and 1B stop before their cosine's end.
OLMO2_SIZES = {
    "1b": dict(learning_rate=4e-4, batch_tokens=2**21, warmup_steps=4000, tokens=4e12, devices=64, microbatches=8),
    "7b": dict(learning_rate=3e-4, batch_tokens=2**22, warmup_steps=2000, tokens=3.9e12, devices=128, microbatches=8),
    "13b": dict(learning_rate=9e-4, batch_tokens=2**23, warmup_steps=2000, tokens=5e12, devices=256, microbatches=8),
}
GEMMA2_SIZES = {
    "2b": dict(tokens=2e12, devices=64, microbatches=8),
    "9b": dict(tokens=8e12, devices=128, microbatches=4),
    "27b": dict(tokens=13e12, devices=512),
}
GEMMA3_SIZES = {
    "270m": dict(tokens=6e12, tiny_kv_heads=1, devices=128),
    "1b": dict(tokens=2e12, tiny_kv_heads=1, devices=128),
    "4b": dict(tokens=4e12, tiny_kv_heads=2, devices=256, tensor=4, microbatches=2),
}


def gpt1(name, arguments, **place):
    """GPT's pretraining: the next token (Radford et al. 2018, section 4.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    _causal(c, "gpt1", "base", kind="bpe", vocab_size=40478)
    c.data.sequence_length = 512
    c.train.update(batch_size=64, steps="100 epochs")
    c.optimizer.update(
        name="adamw", learning_rate=2.5e-4, schedule="cosine", warmup_steps=2_000, decay_steps="100 epochs",
        final_fraction=0.0, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_GPT)
    return c


def gpt1_classifier(name, arguments, **place):
    """GPT finetuned to classify, with the language model's loss beside (Radford et al. 2018, sections 3.2 and 4.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    c.model.update(family="gpt1", preset="base", num_labels=10)
    c.objective.update(name="supervised", lm_weight=0.5)
    c.task.name = "package"
    c.tokenizer.update(kind="bpe", vocab_size=40478)
    c.data.sequence_length = 512
    c.train.update(batch_size=32, steps="3 epochs")
    c.optimizer.update(
        name="adamw", learning_rate=6.25e-5, schedule="linear", warmup_steps="0.006 epochs", decay_steps="3 epochs",
        final_fraction=0.0, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_GPT)
        c.data.sequence_length = 64
    return c


def gpt2(name, arguments):
    """GPT-2's pretraining: the next token (Radford et al. 2019, section 2).

    The paper gives the batch, the lengths and the model; the rest is GPT-3's (Brown et al. 2020, appendix B), the
    number of steps and of warm-up steps that of nanoGPT's reproduction.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GPT2_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GPT2_SIZES))
    size = dict(GPT2_SIZES[options["size"]])
    _causal(c, "gpt2", options["size"], kind="byte_bpe", vocab_size=50257)
    _gpt3_optimizer(c, size.pop("learning_rate"))
    c.data.sequence_length = 1024
    c.train.update(batch_size=512, steps=600_000)
    c.optimizer.update(warmup_steps=2_000, decay_steps=600_000)
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_GPT)
    return c


def gpt3(name, arguments):
    """GPT-3's pretraining at the eight sizes of its table 2.1, without the ramp of the batch size.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GPT3_SIZES, `sparse` a switch: every second
            layer sees the nearest 256 tokens only (32 in a tiny run).

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GPT3_SIZES), sparse=(False, True))
    size = dict(GPT3_SIZES[options["size"]])
    _causal(c, "gpt3", options["size"], kind="byte_bpe", vocab_size=50257)
    _gpt3_optimizer(c, size.pop("learning_rate"))
    if options["sparse"]:
        c.model.pattern = ({}, {"window": 32 if options["tiny"] else 256})
    c.data.sequence_length = 2048
    c.train.update(batch_size=size.pop("batch_size"), steps="300e9 tokens")
    c.optimizer.update(warmup_steps="375e6 tokens", decay_steps="260e9 tokens")
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_GPT)
        c.optimizer.decay_steps = c.train.steps * 26 // 30  # the rate stays at a tenth for the rest, as in the full run
    return c


def pythia(name, arguments):
    """Pythia's pretraining: GPT-3's optimizer on 2M tokens a step (Biderman et al. 2023, section 2).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of PYTHIA_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(PYTHIA_SIZES))
    size = dict(PYTHIA_SIZES[options["size"]])
    _causal(c, "pythia", options["size"], kind="byte_bpe", vocab_size=50277)
    _gpt3_optimizer(c, size.pop("learning_rate"))
    c.data.sequence_length = 2048
    c.train.update(batch_size=1024, steps=143_000)
    c.optimizer.update(warmup_steps=1430, decay_steps=143_000)
    families.place(c, remat="full", fsdp=True, **size)
    if options["tiny"]:
        families.shrink(c, TINY_GPT)
    return c


def llama(name, arguments):
    """Llama's pretraining (Touvron et al. 2023, sections 2.1 to 2.3; 2307.09288, 2.2; 2407.21783, 3.2 to 3.4).

    Rates and lengths of the runs are those of each paper or model card. Llama 1 and 2 train on 4M tokens a step, as
    here all sizes that print no batch, and 3.1's 405B on 16M, without the ramp that it had. Llama 1 prints no epsilon
    and Llama 3 no optimizer's constants: they are Llama 2's. Warm-up and end of the schedule of all of 3, 3.1 and 3.2
    are those of 405B. 3.2 was pruned from 3.1's 8B and learned from its answers; here it starts from nothing.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of LLAMA_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(LLAMA_SIZES))
    generation = LLAMA_GENERATIONS[options["size"][0]]
    return _llama_like(c, "llama", options, **LLAMA_RECIPE | generation | LLAMA_SIZES[options["size"]])


def mistral(name, arguments, **place):
    """Mistral 7B's pretraining: Llama 2's recipe on rows of 8,192 tokens, twice the window (Jiang et al. 2023).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    settings = LLAMA_RECIPE | dict(kind="sentencepiece_bpe", vocab_size=32000, length=8192, tokens=2e12)
    _llama_like(c, "mistral", options | {"size": "7b"}, **settings, tiny_kv_heads=2, **place)
    if options["tiny"]:
        c.model.window = 32  # the published one is longer than a tiny row
    return c


def gemma(name, arguments):
    """Gemma's pretraining: Llama 2's recipe for the lengths that the paper gives (Mesnard et al. 2024, section 3).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GEMMA_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GEMMA_SIZES))
    settings = LLAMA_RECIPE | dict(kind="sentencepiece_bpe", vocab_size=256000, length=8192)
    return _llama_like(c, "gemma", options, **settings | GEMMA_SIZES[options["size"]])


def qwen2(name, arguments):
    """Qwen2's pretraining: Llama 2's recipe for the lengths that the paper gives (Yang et al. 2024, section 3).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of QWEN2_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(QWEN2_SIZES))
    # 151,643 pieces and three special tokens; the models have a few rows more.
    settings = LLAMA_RECIPE | dict(kind="byte_bpe", vocab_size=151646, length=4096, tiny_kv_heads=2)
    return _llama_like(c, "qwen2", options, **settings | QWEN2_SIZES[options["size"]])


def qwen3(name, arguments):
    """Qwen3's pretraining: Llama 2's recipe for the lengths that the paper gives (Yang et al. 2025, section 3).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of QWEN3_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(QWEN3_SIZES))
    settings = LLAMA_RECIPE | dict(kind="byte_bpe", vocab_size=151669, length=4096, tokens=36e12, tiny_kv_heads=2)
    return _llama_like(c, "qwen3", options, **settings | QWEN3_SIZES[options["size"]])


def olmo2(name, arguments):
    """OLMo 2's first stage of pretraining (OLMo team 2024, section 2 and table 3, and the released configurations).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of OLMO2_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(OLMO2_SIZES))
    settings = dict(kind="byte_bpe", vocab_size=100278, length=4096, decay_tokens=5e12, tiny_kv_heads=4)
    _llama_like(c, "olmo2", options, final_fraction=0.1, **settings | OLMO2_SIZES[options["size"]])
    c.objective.z_loss = 1e-5
    c.optimizer.update(epsilon=1e-8, decay_rules=((r"token/embedding", False), (r".*", True)))
    return c


def gemma2(name, arguments):
    """Gemma 2's pretraining: Llama 2's recipe for the lengths that the paper gives (Riviere et al. 2024, section 3).

    The smaller two learned from a larger model's answers; here they learn from the text.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GEMMA2_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GEMMA2_SIZES))
    settings = LLAMA_RECIPE | dict(kind="sentencepiece_bpe", vocab_size=256000, length=8192, tiny_kv_heads=2)
    _llama_like(c, "gemma2", options, **settings | GEMMA2_SIZES[options["size"]])
    if options["tiny"]:
        c.model.window = 32  # the published one is longer than a tiny row
    return c


def gemma3(name, arguments):
    """Gemma 3's pretraining: Llama 2's recipe for the lengths that the report gives (Kamath et al. 2025, section 2).

    All sizes learned from a larger model's answers; here they learn from the text.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GEMMA3_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GEMMA3_SIZES))
    settings = LLAMA_RECIPE | dict(kind="sentencepiece_bpe", vocab_size=262144, length=32768)
    _llama_like(c, "gemma3", options, **settings | GEMMA3_SIZES[options["size"]])
    if options["tiny"]:  # three layers, the last of which sees all of a row
        c.model.update(window=32, pattern=models.presets("gemma3")[options["size"]]["pattern"][-3:])
    return c


def _llama_like(
    c, family, options, *, kind, vocab_size, length, learning_rate, batch_tokens, tokens, warmup_steps,
    final_fraction, tiny_kv_heads, decay_tokens=None, **place,
):  # fmt: skip
    """Fills in an experiment with a kin of Llama.

    Args:
        c: the configuration, changed in place and returned.
        family: name of the family.
        options: values of the config's arguments, `size` being the preset.
        kind, vocab_size: the tokenizer.
        length: tokens in a row.
        learning_rate, warmup_steps, final_fraction: the schedule, a cosine.
        batch_tokens: tokens in a step.
        tokens: tokens in the run.
        decay_tokens: length of the cosine; None: of the run.
        tiny_kv_heads: key and value heads of the tiny model, which has 4 heads.
        **place: see `families.place`; parameters are always cut and activations recomputed.
    """
    _causal(c, family, options["size"], kind=kind, vocab_size=vocab_size)
    c.data.sequence_length = length
    steps = round(
        tokens / batch_tokens
    )  # given in tokens, a try with a small batch would have more than an int32 counts
    c.train.update(batch_size=batch_tokens // length, steps=steps)
    c.optimizer.update(
        name="adamw", learning_rate=learning_rate, schedule="cosine", warmup_steps=warmup_steps,
        decay_steps=round((decay_tokens or tokens) / batch_tokens), final_fraction=final_fraction, beta1=0.9,
        beta2=0.95, epsilon=1e-5, weight_decay=0.1, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, remat="full", fsdp=True, **place)
    if options["tiny"]:
        families.shrink(c, TINY_LLAMA)
        c.model.kv_heads = tiny_kv_heads
        c.optimizer.decay_steps = round(c.train.steps * (decay_tokens or tokens) / tokens)
    return c


def _causal(c, family, preset, *, kind, vocab_size):
    """What all decoders share."""
    c.model.update(family=family, preset=preset)
    c.objective.name = "causal_lm"
    c.tokenizer.update(kind=kind, vocab_size=vocab_size)
    c.data.packing = "windows"


def _gpt3_optimizer(c, learning_rate):
    """What GPT-2, GPT-3 and Pythia share (Brown et al. 2020, appendix B)."""
    c.optimizer.update(
        name="adamw", learning_rate=learning_rate, schedule="cosine", final_fraction=0.1, beta1=0.9, beta2=0.95,
        epsilon=1e-8, weight_decay=0.1, clip_norm=1.0,
    )  # fmt: skip
