"""What the experiments of a family have in common; a config file adds the size, the rate and the devices.

Every schedule has its length written out (`optimizer.decay_steps`), so that `train.steps` only says where a run stops:
a run of ten steps is the first ten of the published one, and goes on when `train.steps` is raised. To train longer
than published, raise both.
"""

from configs import base

# Three to four minutes on two CPU cores. The preset stays and only sizes change, so a tiny run has the block, the
# objective, the optimizer and the shape of the schedule of the full one. No dropout: a run this short does not overfit.
# Unrolled: three layers compile fast anyway, and a CPU runs them faster than a loop.
_TINY_MODEL = dict(
    width=192, heads=3, ffn=768, vocab_size=4096, dropout=0.0, attention_dropout=0.0, scan=False
)  # fmt: skip
_TINY_RUN = dict(log_every=20, eval_every=250, batch_size=16)

TINY_BERT = dict(
    model=dict(_TINY_MODEL, layers=3),
    tokenizer=dict(vocab_size=4096),
    train=dict(_TINY_RUN, steps=2000),
    # Without bias correction the first updates are three times too long: a short warm-up to 1e-3 ends at the unigram
    # distribution and stays there.
    optimizer=dict(learning_rate=7e-4, warmup_steps=200, decay_steps=2000),
    checkpoint=dict(every=500),
)
TINY_GPT = dict(
    model=dict(_TINY_MODEL, layers=3),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=128),
    train=dict(_TINY_RUN, steps=700),
    optimizer=dict(learning_rate=1e-3, warmup_steps=40, decay_steps=700),
    checkpoint=dict(every=500),
)
TINY_T5 = dict(
    model=dict(_TINY_MODEL, layers=2, decoder_layers=2, activation_dropout=0.0, final_dropout=0.0),
    tokenizer=dict(vocab_size=4096),  # the sentinels are among them
    data=dict(sequence_length=128),
    train=dict(_TINY_RUN, steps=1300),
    optimizer=dict(learning_rate=2e-2, warmup_steps=60),
    checkpoint=dict(every=500),
)

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


def bert(name, arguments, *, preset, devices, microbatches):
    """BERT's pretraining: masked tokens and next sentences (Devlin et al. 2019, section 3.1 and appendix A.2).

    The argument `length` is 128 for the first 90% of the steps, the default, or 512 for the rest.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: size of the family.
        devices: number that the experiment is meant for.
        microbatches: {length: parts of a step's batch}.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, length=(128, 512))
    first_phase = options["length"] == 128
    c.model.update(family="bert", preset=preset)
    # No cap on predictions: 15% of a row is 19 of 128 and 77 of 512 tokens, the published caps are 20 and 77.
    c.objective.update(name="masked_lm", next_sentence=True)
    c.tokenizer.update(kind="wordpiece", vocab_size=30522)
    c.data.sequence_length = options["length"]
    c.train.update(batch_size=256, steps=900_000 if first_phase else 1_000_000)
    c.optimizer.update(
        name="adam_no_bias_correction", learning_rate=1e-4, schedule="linear", warmup_steps=10_000,
        decay_steps=1_000_000, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    _place(c, devices, microbatches[options["length"]])
    if options["tiny"]:
        c.data.sequence_length = options["length"] // 2
        _shrink(c, TINY_BERT)
        if first_phase:
            c.train.steps = c.train.steps * 9 // 10
    return c


def gpt2(name, arguments, *, preset, learning_rate, **place):
    """GPT-2's pretraining: the next token (Radford et al. 2019, section 2).

    The paper gives the batch, the lengths and the model; the rest is GPT-3's (Brown et al. 2020, appendix B), the
    number of steps and of warm-up steps that of nanoGPT's reproduction.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: size of the family.
        learning_rate: peak.
        **place: see `_place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    _causal(c, "gpt2", preset, learning_rate)
    c.data.sequence_length = 1024
    c.train.update(batch_size=512, steps=600_000)
    c.optimizer.update(warmup_steps=2_000, decay_steps=600_000)
    _place(c, **place)
    if options["tiny"]:
        _shrink(c, TINY_GPT)
    return c


def gpt3(name, arguments):
    """GPT-3's pretraining at the eight sizes of its table 2.1, without the ramp of the batch size.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of GPT3_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(GPT3_SIZES))
    size = dict(GPT3_SIZES[options["size"]])
    _causal(c, "gpt3", options["size"], size.pop("learning_rate"))
    c.data.sequence_length = 2048
    c.train.update(batch_size=size.pop("batch_size"), steps="300e9 tokens")
    c.optimizer.update(warmup_steps="375e6 tokens", decay_steps="260e9 tokens")
    _place(c, **size)
    if options["tiny"]:
        _shrink(c, TINY_GPT)
        c.optimizer.decay_steps = c.train.steps * 26 // 30  # the rate stays at a tenth for the rest, as in the full run
    return c


def _causal(c, family, preset, learning_rate):
    """What GPT-2 and GPT-3 share."""
    c.model.update(family=family, preset=preset)
    c.objective.name = "causal_lm"
    c.tokenizer.update(kind="byte_bpe", vocab_size=50257)
    c.data.packing = "windows"
    c.optimizer.update(
        name="adamw", learning_rate=learning_rate, schedule="cosine", final_fraction=0.1, beta1=0.9, beta2=0.95,
        epsilon=1e-8, weight_decay=0.1, clip_norm=1.0,
    )  # fmt: skip


def t5(name, arguments, *, preset, **place):
    """T5's unsupervised pretraining: span corruption (Raffel et al. 2020, sections 3.1.4 and 3.7).

    Batch and steps are those of the published models, 2^11 rows a million times. The paper's comparisons ran a
    sixteenth of the batch for about half the steps: --config.train.batch_size=128 --config.train.steps=524288.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: size of the family.
        **place: see `_place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    c.model.update(family="t5", preset=preset)
    c.objective.update(name="span_corruption", mask_rate=0.15, mean_span=3.0, z_loss=1e-4)
    c.tokenizer.update(kind="unigram", vocab_size=32100, sentinels=100)  # 32,000 pieces are learned
    c.data.sequence_length = 512  # made of 568 tokens of text; the targets are 114
    c.train.update(batch_size=2048, steps=1_000_000)
    c.optimizer.update(  # the rate is 1 / sqrt(max(step, 10,000)); Adafactor clips each update by itself
        name="adafactor", learning_rate=0.01, schedule="inverse_sqrt", warmup_steps=10_000, weight_decay=0.0,
        clip_norm=0.0,
    )  # fmt: skip
    _place(c, **place)
    if options["tiny"]:
        _shrink(c, TINY_T5)
    return c


def _place(c, devices, microbatches=1, remat="none", fsdp=False, tensor=1):
    """Where an experiment runs; sized for devices of 80 GB by estimates, not by measurements.

    One axis of the mesh is -1, so the same command takes more or fewer devices than the experiment is meant for. At
    most 8 microbatches, so that a batch of 8 rows can be tried on any machine.

    Args:
        c: the configuration, changed in place.
        devices: number that the experiment is meant for. One computes in float32, which a CPU is fast in; more are
            accelerators and compute in bfloat16.
        microbatches: parts of a step's batch.
        remat: what is recomputed in the backward pass.
        fsdp: cut parameters over the devices instead of copying them.
        tensor: devices along the tensor axis.
    """
    c.devices = devices
    c.train.microbatches = microbatches
    c.model.update(dtype="float32" if devices == 1 else "bfloat16", remat=remat)
    c.mesh.update(data=1 if fsdp else -1, fsdp=-1 if fsdp else 1, tensor=tensor)


def _shrink(c, tiny):
    """Makes the tiny version of an experiment, on one device."""
    _place(c, devices=1)
    c.update(tiny)
