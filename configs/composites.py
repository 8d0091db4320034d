"""Experiments with two models that train as one: ELECTRA, DeBERTa v3, COCO-LM and DistilBERT."""

from cloze.configs import base, families


def _tiny(steps, learning_rate=1e-3, warmup_steps=100, **model):
    """A tiny experiment of so many steps; two models take longer over one than BERT."""
    return dict(
        model=families.TINY_MODEL | dict(layers=3) | model,
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=64),
        train=dict(families.TINY_RUN, steps=steps),
        optimizer=dict(learning_rate=learning_rate, warmup_steps=warmup_steps, decay_steps=steps),
        checkpoint=dict(every=500),
    )


# Adam without bias correction needs a longer warm-up to a lower rate, see configs/encoders.py.
TINY_ELECTRA = _tiny(2000, learning_rate=3e-4, warmup_steps=200)
TINY_DEBERTA = _tiny(1100, relative_span=64, relative_buckets=32)
TINY_COCO = _tiny(700, learning_rate=5e-4, warmup_steps=60, layers=2)
TINY_DISTILBERT = _tiny(1100, layers=2)

# ELECTRA's table 6 (appendix A) and, for large, section 3.5's shorter run.
ELECTRA_SIZES = {
    "small": dict(
        learning_rate=5e-4, batch_size=128, length=128, steps=1_000_000, mask_rate=0.15, generator_width=1 / 4,
        devices=1,
    ),
    "base": dict(
        learning_rate=2e-4, batch_size=256, length=512, steps=766_000, mask_rate=0.15, generator_width=1 / 3, devices=8,
        microbatches=2,
    ),
    "large": dict(
        learning_rate=2e-4, batch_size=2048, length=512, steps=400_000, mask_rate=0.25, generator_width=1 / 4,
        devices=64, microbatches=4,
    ),
}  # fmt: skip
ELECTRA_TASKS = ("detect", "detect_hidden", "replace_mlm", "all_tokens_mlm")
DEBERTA_V3_SIZES = {
    "base": dict(learning_rate=6e-4, devices=64, microbatches=8),
    "xsmall": dict(learning_rate=6e-4, devices=32, microbatches=8),
    "small": dict(learning_rate=6e-4, devices=32, microbatches=8),
    "large": dict(learning_rate=3e-4, devices=128, microbatches=8, remat="full"),
}
# The generators have 4 layers of 12 and 6 of 24. Rows are compared over the whole batch: no microbatches.
COCO_LM_SIZES = {
    "base": dict(learning_rate=5e-4, steps=125_000, generator_layers=1 / 3, devices=32),
    "large": dict(learning_rate=1e-4, steps=1_953_125, generator_layers=1 / 4, devices=64, remat="full"),
}


def electra(name, arguments):
    """ELECTRA's pretraining (Clark et al. 2020, sections 2 and 3, appendix A).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of ELECTRA_SIZES, `task` one of ELECTRA_TASKS,
            and `tie` says what generator and discriminator share.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(
        name, arguments, size=tuple(ELECTRA_SIZES), task=ELECTRA_TASKS, tie=("embeddings", "all", "none")
    )
    size = dict(ELECTRA_SIZES[options["size"]])
    _generated(c, "replaced_tokens", "electra", options["size"], size)
    c.objective.update(
        mask_rate=size.pop("mask_rate"), mask_token_share=0.85, replaced_task=options["task"], tie=options["tie"],
        generator_width=size.pop("generator_width"),
    )  # fmt: skip
    if options["task"] in ("replace_mlm", "all_tokens_mlm"):
        c.objective.discriminator_weight = 1.0  # a loss over the vocabulary, as the generator's
    if options["tie"] == "all":
        c.objective.generator_width = 1.0
    c.tokenizer.update(kind="wordpiece", vocab_size=30522)
    c.optimizer.update(name="adam_no_bias_correction", beta2=0.999, clip_norm=1.0)
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_ELECTRA)
    return c


def deberta_v3(name, arguments):
    """DeBERTa v3's pretraining (He et al. 2023, section 3 and table 8).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of DEBERTA_V3_SIZES, `tie` says how generator
            and discriminator share the embeddings of tokens.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(
        name, arguments, size=tuple(DEBERTA_V3_SIZES), tie=("disentangled", "embeddings", "none")
    )
    size = dict(DEBERTA_V3_SIZES[options["size"]], batch_size=8192, length=512, steps=500_000)
    _generated(c, "replaced_tokens", "deberta", f"v3_{options['size']}", size)
    c.objective.update(mask_token_share=0.85, generator_width=1.0, generator_layers=0.5, tie=options["tie"])
    c.tokenizer.update(kind="unigram", vocab_size=128_000, mask_token=True)
    c.optimizer.update(name="adamw", beta2=0.98, clip_norm=1.0)
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_DEBERTA)
    return c


def coco_lm(name, arguments):
    """COCO-LM's pretraining (Meng et al. 2021, sections 3 and 4.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of COCO_LM_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(COCO_LM_SIZES))
    size = dict(COCO_LM_SIZES[options["size"]], batch_size=2048, length=512)
    _generated(c, "corrective_lm", "coco_lm", options["size"], size)
    c.objective.update(mask_token_share=1.0, generator_width=1.0, generator_layers=size.pop("generator_layers"))
    c.tokenizer.update(kind="sentencepiece_bpe", vocab_size=32768, mask_token=True)
    c.optimizer.update(name="adamw", beta2=0.98, clip_norm=2.0)
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_COCO)
    return c


def distilbert(name, arguments):
    """DistilBERT's pretraining (Sanh et al. 2019, sections 2 and 3; rates from its released code).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `teacher` is the directory of the teacher's run, by default
            that of configs/bert_base.py.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, teacher="runs/bert_base")
    teacher = options["teacher"]
    if options["tiny"] and teacher == "runs/bert_base":
        teacher = "runs/bert_base-tiny"
    c.model.update(family="distilbert", preset="base")
    c.objective.update(name="distillation", teacher=teacher)
    c.tokenizer.update(kind="wordpiece", vocab_size=30522, path=f"{teacher}/tokenizer")
    c.data.update(sequence_length=512, packing="windows")
    c.train.update(batch_size=4096, steps="3 epochs")
    c.trainable = ((r"student/encoder_embeddings/position/.*", False), (r".*", True))
    c.optimizer.update(
        name="adamw", learning_rate=5e-4, schedule="linear", warmup_steps="0.15 epochs", decay_steps="3 epochs",
        beta1=0.9, beta2=0.98, epsilon=1e-6, weight_decay=0.0, clip_norm=5.0,
    )  # fmt: skip
    families.place(c, devices=8, microbatches=8)
    if options["tiny"]:
        families.shrink(c, TINY_DISTILBERT)
    return c


def _generated(c, objective, family, preset, size):
    """What experiments with a generator share; takes its settings out of `size` and leaves where the run is placed."""
    steps = size.pop("steps")
    c.model.update(family=family, preset=preset)
    c.objective.update(name=objective, random_token_share=0.0)
    c.data.update(sequence_length=size.pop("length"), packing="windows")
    c.train.update(batch_size=size.pop("batch_size"), steps=steps)
    c.optimizer.update(
        learning_rate=size.pop("learning_rate"), schedule="linear", warmup_steps=10_000, decay_steps=steps, beta1=0.9,
        epsilon=1e-6, weight_decay=0.01,
    )  # fmt: skip
