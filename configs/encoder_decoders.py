"""Experiments with encoder-decoders: T5 and its study, UL2, BART and the original Transformer."""

from cloze.configs import base, families
from cloze.errors import ConfigError

TINY_T5 = dict(
    model=dict(families.TINY_MODEL, layers=2, decoder_layers=2, activation_dropout=0.0, final_dropout=0.0),
    tokenizer=dict(vocab_size=4096),  # the sentinels are among them
    data=dict(sequence_length=128),
    train=dict(families.TINY_RUN, steps=1300),
    optimizer=dict(learning_rate=2e-2, warmup_steps=60),
    checkpoint=dict(every=500),
)


TINY_POST_NORM = dict(
    model=dict(families.TINY_MODEL, layers=2, decoder_layers=2),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=64),
    train=dict(families.TINY_RUN, steps=1500),
    optimizer=dict(learning_rate=1e-3, warmup_steps=100, decay_steps=1500),
    checkpoint=dict(every=500),
)

# Where each size runs; those of T5 1.1 are the sizes "v1_1_..." of the family.
T5_SIZES = {
    "small": dict(devices=1, microbatches=8, remat="full"),
    "base": dict(devices=1, microbatches=8, remat="full"),
    "large": dict(devices=32, remat="full"),
    "3b": dict(devices=128, remat="full", fsdp=True),
    "11b": dict(devices=512, remat="full", fsdp=True, tensor=8),
}
T5_V1_1_SIZES = {
    "small": T5_SIZES["small"], "base": T5_SIZES["base"], "large": T5_SIZES["large"], "xl": T5_SIZES["3b"],
    "xxl": T5_SIZES["11b"],
}  # fmt: skip
BART_SIZES = {  # peak rate and warm-up, then where it runs
    "base": dict(learning_rate=6e-4, warmup_steps=24_000, devices=64, microbatches=4),
    "large": dict(learning_rate=4e-4, warmup_steps=30_000, devices=128, microbatches=4),
}
TRANSFORMER_SIZES = {  # peak rate, by the paper's formula width ** -0.5 * warm-up ** -0.5, and length
    "base": dict(learning_rate=7e-4, steps=100_000, devices=1, microbatches=2),
    "big": dict(learning_rate=4.94e-4, steps=300_000, devices=1, microbatches=4),
}
STUDY = {  # architectures of table 2: the size of family t5
    "encoder_decoder": "base", "shared": "shared_base", "half": "half_base", "lm": "lm_base",
    "prefix_lm": "prefix_lm_base",
}  # fmt: skip
STUDY_NOISES = ("iid_spans", "bert_style", "mass", "drop_tokens", "deshuffle")
SALIENT_SIZES = {
    "small": dict(devices=1, microbatches=8, remat="full"),
    "base": dict(devices=1, microbatches=8, remat="full"),
    "large": dict(devices=8, microbatches=8, remat="full"),
    "xl": dict(devices=64, remat="full", fsdp=True),
    "xxl": dict(devices=512, remat="full", fsdp=True, tensor=8),
}
BART_NOISES = {
    "infill+permute": dict(permute_sentences=1.0, infill_rate=0.3),
    "infill": dict(infill_rate=0.3),
    "permute": dict(permute_sentences=1.0),
    "mask": dict(token_mask_rate=0.15),
    "delete": dict(delete_rate=0.15),
    "rotate": dict(rotate_share=1.0),
}


def t5(name, arguments):
    """T5's unsupervised pretraining: span corruption (Raffel et al. 2020, sections 3.1.4 and 3.7).

    Batch and steps are those of the published models, 2^11 rows a million times. The paper's comparisons ran a
    sixteenth of the batch for about half the steps: --config.train.batch_size=128 --config.train.steps=524288.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of T5_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(T5_SIZES))
    place = T5_SIZES[options["size"]]
    return _unsupervised(c, options, options["size"], batch_size=2048, steps=1_000_000, **place)


def t5_v1_1(name, arguments):
    """As `t5`, of T5 1.1; `size` is one of T5_V1_1_SIZES."""
    c, options = base.experiment(name, arguments, size=tuple(T5_V1_1_SIZES))
    place = T5_V1_1_SIZES[options["size"]]
    return _unsupervised(c, options, f"v1_1_{options['size']}", batch_size=2048, steps=1_000_000, **place)


def t5_salient_spans(name, arguments):
    """T5 1.1 trained on with salient spans (Roberts et al. 2020, section 3).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of SALIENT_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(SALIENT_SIZES))
    preset = f"v1_1_{options['size']}"
    _unsupervised(c, options, preset, batch_size=2048, steps=100_000, **SALIENT_SIZES[options["size"]])
    c.objective.name = "salient_spans"
    # Where T5's rate had fallen to after a million steps; a tiny run begins with new parameters.
    c.optimizer.update(schedule="constant", learning_rate=5e-3 if options["tiny"] else 1e-3)
    if not options["tiny"]:
        c.optimizer.warmup_steps = 0
    return c


def t5_study(name, arguments, **place):
    """The ten rows of T5's comparison of architectures and objectives, at the size of base (Raffel et al. 2020,
    section 3.2), and its ways of denoising (section 3.3).

    All train as the study's baseline: 128 rows of 512 tokens, 2^19 times.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `architecture` is one of STUDY, `objective` denoising or lm,
            `noise` one of STUDY_NOISES.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(
        name, arguments, architecture=tuple(STUDY), objective=("denoising", "lm"), noise=STUDY_NOISES
    )
    architecture, plain = options["architecture"], options["objective"] == "lm"
    if plain and options["noise"] != STUDY_NOISES[0]:
        raise ConfigError(
            f"config arguments objective=lm and noise={options['noise']}: a language model hides nothing; leave out "
            "one of the two"
        )
    _unsupervised(c, options, STUDY[architecture], batch_size=128, steps=2**19, **place)
    if plain:
        c.objective.name = "causal_lm" if architecture == "lm" else "prefix_lm"
    else:
        c.objective.update(name="denoising", noise=options["noise"], mask_token_share=0.9, random_token_share=0.1)
    # Section 3.2.3: a language model is scored on inputs and targets, a prefix language model on the targets.
    if architecture == "lm" and not plain:
        c.objective.update(prefix="causal", loss_on_inputs=True)
    if options["tiny"] and architecture in ("lm", "prefix_lm"):
        c.model.update(layers=4, decoder_layers=None)
    return c


def ul2(name, arguments, **place):
    """UL2's mixture of denoisers at the size of T5 1.1 base (Tay et al. 2022, sections 3.1 and 4.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `architecture` is encoder_decoder or decoder.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, architecture=("encoder_decoder", "decoder"))
    _unsupervised(c, options, "v1_1_base", batch_size=128, steps=500_000, **place)
    c.objective.name = "ul2"
    c.model.activation = "silu"
    if options["architecture"] == "decoder":
        c.model.update(architecture="decoder", decoder_layers=0, relative_bidirectional=True)
        if options["tiny"]:
            c.model.layers = 4
    return c


def bart(name, arguments):
    """BART's pretraining (Lewis et al. 2020, sections 2.2 and 5.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of BART_SIZES, `noise` is one of BART_NOISES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(BART_SIZES), noise=tuple(BART_NOISES))
    size = dict(BART_SIZES[options["size"]])
    none = dict(permute_sentences=0.0, infill_rate=0.0, token_mask_rate=0.0, delete_rate=0.0, rotate_share=0.0)
    c.model.update(family="bart", preset=options["size"])
    c.objective.update(name="bart", mean_span=3.0, **none | BART_NOISES[options["noise"]])
    c.tokenizer.update(kind="byte_bpe", vocab_size=50265, mask_token=True)
    c.data.sequence_length = 512
    c.train.update(batch_size=8192, steps=500_000)
    c.optimizer.update(
        name="adamw", learning_rate=size.pop("learning_rate"), schedule="linear", warmup_steps=size.pop("warmup_steps"),
        decay_steps=500_000, beta1=0.9, beta2=0.98, epsilon=1e-6, weight_decay=0.01, clip_norm=0.0,
    )  # fmt: skip
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_POST_NORM)
    return c


def transformer(name, arguments):
    """The original Transformer (Vaswani et al. 2017, section 5) on the continuation of texts.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of TRANSFORMER_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(TRANSFORMER_SIZES))
    size = dict(TRANSFORMER_SIZES[options["size"]])
    steps = size.pop("steps")
    c.model.update(family="transformer", preset=options["size"])
    c.objective.update(name="prefix_lm", label_smoothing=0.1)
    c.tokenizer.update(kind="sentencepiece_bpe", vocab_size=37000)
    c.data.sequence_length = 256
    c.train.update(batch_size=96, steps=steps)  # 25,000 tokens
    c.optimizer.update(
        name="adamw", learning_rate=size.pop("learning_rate"), schedule="linear", warmup_steps=4_000, decay_steps=steps,
        beta1=0.9, beta2=0.98, epsilon=1e-9, weight_decay=0.0, clip_norm=0.0,
    )  # fmt: skip
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_POST_NORM)
    return c


def _unsupervised(c, options, preset, *, batch_size, steps, **place):
    """Fills in span corruption; the learning rate does not depend on the length of the run."""
    c.model.update(family="t5", preset=preset)
    c.objective.update(name="span_corruption", mask_rate=0.15, mean_span=3.0, z_loss=1e-4)
    c.tokenizer.update(kind="unigram", vocab_size=32100, sentinels=100)  # 32,000 pieces are learned
    c.data.sequence_length = 512  # made of 568 tokens of text; the targets are 114
    c.train.update(batch_size=batch_size, steps=steps)
    c.optimizer.update(  # the rate is 1 / sqrt(max(step, 10,000)); Adafactor clips each update by itself
        name="adafactor", learning_rate=0.01, schedule="inverse_sqrt", warmup_steps=10_000, weight_decay=0.0,
        clip_norm=0.0,
    )  # fmt: skip
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_T5)
    return c
