"""Experiments with encoder-decoders: T5 and the architectures of its study."""

from configs import base, families

TINY_T5 = dict(
    model=dict(families.TINY_MODEL, layers=2, decoder_layers=2, activation_dropout=0.0, final_dropout=0.0),
    tokenizer=dict(vocab_size=4096),  # the sentinels are among them
    data=dict(sequence_length=128),
    train=dict(families.TINY_RUN, steps=1300),
    optimizer=dict(learning_rate=2e-2, warmup_steps=60),
    checkpoint=dict(every=500),
)


def t5(name, arguments, *, preset, **place):
    """T5's unsupervised pretraining: span corruption (Raffel et al. 2020, sections 3.1.4 and 3.7).

    Batch and steps are those of the published models, 2^11 rows a million times. The paper's comparisons ran a
    sixteenth of the batch for about half the steps: --config.train.batch_size=128 --config.train.steps=524288.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: size of the family.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    return _unsupervised(c, options, preset, batch_size=2048, steps=1_000_000, **place)


def t5_study(name, arguments, *, preset, **place):
    """An architecture of T5's study at the size of base (Raffel et al. 2020, section 3.2).

    All train as the study's baseline: 128 rows of 512 tokens, 2^19 times. The decoder alone predicts the next token,
    the others corrupted spans.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: the architecture, a size of family t5.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    _unsupervised(c, options, preset, batch_size=128, steps=2**19, **place)
    if preset == "lm_base":
        c.objective.name = "causal_lm"
        if options["tiny"]:
            c.model.update(layers=4, decoder_layers=None)
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
