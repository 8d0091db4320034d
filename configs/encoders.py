"""Experiments with encoders: BERT and its kin, which predict hidden tokens."""

from configs import base, families

TINY_BERT = dict(
    model=dict(families.TINY_MODEL, layers=3),
    tokenizer=dict(vocab_size=4096),
    train=dict(families.TINY_RUN, steps=2000),
    # Without bias correction the first updates are three times too long: a short warm-up to 1e-3 ends at the unigram
    # distribution and stays there.
    optimizer=dict(learning_rate=7e-4, warmup_steps=200, decay_steps=2000),
    checkpoint=dict(every=500),
)
TINY_MASKED = dict(
    model=dict(families.TINY_MODEL, layers=3),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=64),
    train=dict(families.TINY_RUN, steps=2000),
    optimizer=dict(learning_rate=1e-3, warmup_steps=100, decay_steps=2000),
    checkpoint=dict(every=500),
)


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
    c.objective.update(name="masked_lm", pairs="next_sentence")
    c.tokenizer.update(kind="wordpiece", vocab_size=30522)
    c.data.sequence_length = options["length"]
    c.train.update(batch_size=256, steps=900_000 if first_phase else 1_000_000)
    c.optimizer.update(
        name="adam_no_bias_correction", learning_rate=1e-4, schedule="linear", warmup_steps=10_000,
        decay_steps=1_000_000, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, devices, microbatches[options["length"]])
    if options["tiny"]:
        c.data.sequence_length = options["length"] // 2
        families.shrink(c, TINY_BERT)
        if first_phase:
            c.train.steps = c.train.steps * 9 // 10
    return c


def roberta(name, arguments, *, preset, learning_rate, warmup_steps, **place):
    """RoBERTa's pretraining (Liu et al. 2019, section 5 and table 9).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        preset: size of the family.
        learning_rate: peak.
        warmup_steps: steps until then.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments)
    _masked(c, "roberta", preset, batch_size=8192, steps=500_000)
    c.tokenizer.update(kind="byte_bpe", vocab_size=50265, mask_token=True)
    c.optimizer.update(learning_rate=learning_rate, warmup_steps=warmup_steps, beta2=0.98, clip_norm=0.0)
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
    return c


def deberta(name, arguments, *, preset, **place):
    """DeBERTa's pretraining, with its enhanced mask decoder (He et al. 2021, section 3.2 and table 8).

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
    _masked(c, "deberta", preset, batch_size=2048, steps=1_000_000)
    c.tokenizer.update(kind="byte_bpe", vocab_size=50265, mask_token=True)
    c.optimizer.update(learning_rate=2e-4, warmup_steps=10_000, beta2=0.999, clip_norm=1.0)
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
        c.model.relative_span = c.data.sequence_length  # as in the full run
    return c


def flaubert(name, arguments, *, preset, **place):
    """FlauBERT's pretraining: RoBERTa's, on French, with cased pieces (Le et al. 2020, section 3).

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
    _masked(c, "flaubert", preset, batch_size=8192, steps=500_000)
    c.tokenizer.update(kind="wordpiece", vocab_size=68729, lowercase=False)
    c.optimizer.update(learning_rate=6e-4, warmup_steps=24_000, beta2=0.98, clip_norm=0.0)
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
    return c


def _masked(c, family, preset, *, batch_size, steps):
    """What encoders without next sentences share: windows over the text, and masks drawn anew each time.

    Adam corrects its bias, its decay is decoupled, and the rate falls linearly to 0 at the last step.
    """
    c.model.update(family=family, preset=preset)
    c.objective.update(name="masked_lm", pairs="none")
    c.data.update(sequence_length=512, packing="windows")
    c.train.update(batch_size=batch_size, steps=steps)
    c.optimizer.update(
        name="adamw", schedule="linear", decay_steps=steps, beta1=0.9, epsilon=1e-6, weight_decay=0.01
    )  # fmt: skip
