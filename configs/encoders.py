"""Experiments with encoders: BERT and its kin, which predict hidden tokens."""

from cloze.configs import base, families

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
# Where each size of BERT runs; parts of a step's batch are for rows of 128 and of 512 tokens.
BERT_SIZES = {
    "base": dict(devices=1, microbatches={128: 2, 512: 8}),
    "large": dict(devices=8, microbatches={128: 1, 512: 2}),
}
ROBERTA_SIZES = {  # peak rate and warm-up (table 9), then where it runs
    "base": dict(learning_rate=6e-4, warmup_steps=24_000, devices=64, microbatches=4),
    "large": dict(learning_rate=4e-4, warmup_steps=30_000, devices=128, microbatches=8),
}
DEBERTA_SIZES = {"base": dict(devices=32, microbatches=8), "large": dict(devices=64, microbatches=8)}
SPANBERT_SIZES = {"base": dict(devices=32), "large": dict(devices=32)}
UNILM_SIZES = {"base": dict(devices=10), "large": dict(devices=30)}
ALBERT_SIZES = {
    "base": dict(devices=16, microbatches=4),
    "large": dict(devices=32, microbatches=4),
    "xlarge": dict(devices=64, microbatches=4),
    "xxlarge": dict(devices=128, microbatches=4, remat="full"),
}
MODERNBERT_SIZES = {  # the authors' code and appendix A, then where it runs
    "base": dict(
        learning_rate=8e-4, batch_size=4608, tokens=1.719e12, warmup_tokens=3e9, decay_tokens=50e9, devices=64,
        microbatches=4,
    ),
    "large": dict(
        learning_rate=5e-4, batch_size=4928, tokens=1.7e12, warmup_tokens=2e9, decay_tokens=50e9, devices=64,
        remat="full",
    ),
}  # fmt: skip
MASKINGS = ("tokens", "whole_words", "ngrams", "spans", "entities")


def bert(name, arguments, sizes=tuple(BERT_SIZES)):
    """BERT's pretraining: masked tokens and next sentences (Devlin et al. 2019, section 3.1 and appendix A.2).

    The argument `length` is 128 for the first 90% of the steps, the default, or 512 for the rest. For ablations,
    `masking` and `pairs` are the objective's, and `static` its number of masks of a row; without pairs, rows are full
    sentences.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of `sizes`.
        sizes: out of BERT_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(
        name, arguments, size=sizes, length=(128, 512), masking=MASKINGS, static=(0, 1, 5, 10),
        pairs=("next_sentence", "sentence_order", "none"),
    )  # fmt: skip
    size, first_phase = BERT_SIZES[options["size"]], options["length"] == 128
    c.model.update(family="bert", preset=options["size"])
    # No cap on predictions: 15% of a row is 19 of 128 and 77 of 512 tokens, the published caps are 20 and 77.
    c.objective.update(
        name="masked_lm", pairs=options["pairs"], masking=options["masking"], static_masks=options["static"]
    )
    c.tokenizer.update(kind="wordpiece", vocab_size=30522)
    c.data.update(sequence_length=options["length"], packing="sentences" if options["pairs"] == "none" else "windows")
    c.train.update(batch_size=256, steps=900_000 if first_phase else 1_000_000)
    c.optimizer.update(
        name="adam_no_bias_correction", learning_rate=1e-4, schedule="linear", warmup_steps=10_000,
        decay_steps=1_000_000, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, size["devices"], size["microbatches"][options["length"]])
    if options["tiny"]:
        c.data.sequence_length = options["length"] // 2
        families.shrink(c, TINY_BERT)
        if first_phase:
            c.train.steps = c.train.steps * 9 // 10
    return c


def roberta(name, arguments):
    """RoBERTa's pretraining (Liu et al. 2019, section 5 and table 9).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of ROBERTA_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(ROBERTA_SIZES))
    size = dict(ROBERTA_SIZES[options["size"]])
    _masked(c, "roberta", options["size"], batch_size=8192, steps=500_000)
    c.data.packing = "sentences"
    c.tokenizer.update(kind="byte_bpe", vocab_size=50265, mask_token=True)
    c.optimizer.update(
        learning_rate=size.pop("learning_rate"), warmup_steps=size.pop("warmup_steps"), beta2=0.98, clip_norm=0.0
    )
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
    return c


def modernbert(name, arguments):
    """The first stage of ModernBERT's pretraining, on rows of 1,024 tokens (Warner et al. 2024, section 2.2).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of MODERNBERT_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(MODERNBERT_SIZES))
    size, length = dict(MODERNBERT_SIZES[options["size"]]), 1024
    rate, batch_size = size.pop("learning_rate"), size.pop("batch_size")
    steps, warmup, decay = (
        round(size.pop(key) / batch_size / length) for key in ("tokens", "warmup_tokens", "decay_tokens")
    )
    _masked(c, "modernbert", options["size"], batch_size=batch_size, steps=steps)
    c.model.rope_theta = 10_000.0  # of global layers, until rows grow
    c.objective.mask_rate = 0.3
    c.data.update(sequence_length=length, packing="documents")
    c.tokenizer.update(kind="byte_bpe", vocab_size=50368, mask_token=True)
    c.optimizer.update(
        name="stable_adamw", learning_rate=rate, schedule="wsd", warmup_steps=warmup, decay_share=decay / steps,
        decay_shape="sqrt", beta2=0.98, clip_norm=0.0, weight_decay=1e-5 / rate,  # theirs is not times the rate
    )  # fmt: skip
    families.place(c, **size)
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
        local = {"window": 17, "rope_theta": 10_000.0}  # the published window is longer than a tiny row
        c.model.pattern = ({}, local, local)
    return c


def deberta(name, arguments):
    """DeBERTa's pretraining, with its enhanced mask decoder (He et al. 2021, section 3.2 and table 8).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of DEBERTA_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(DEBERTA_SIZES))
    _masked(c, "deberta", options["size"], batch_size=2048, steps=1_000_000)
    c.tokenizer.update(kind="byte_bpe", vocab_size=50265, mask_token=True)
    c.optimizer.update(learning_rate=2e-4, warmup_steps=10_000, beta2=0.999, clip_norm=1.0)
    families.place(c, **DEBERTA_SIZES[options["size"]])
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


def albert(name, arguments):
    """ALBERT's pretraining: masked n-grams and the order of sentences (Lan et al. 2020, section 4.1).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of ALBERT_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(ALBERT_SIZES))
    _masked(c, "albert", options["size"], batch_size=4096, steps=125_000)
    c.objective.update(pairs="sentence_order", masking="ngrams", longest_ngram=3)
    c.tokenizer.update(kind="unigram", vocab_size=30000, mask_token=True)
    c.optimizer.update(name="lamb", learning_rate=0.00176, warmup_steps=3125, beta2=0.999, clip_norm=1.0)
    families.place(c, **ALBERT_SIZES[options["size"]])
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
        # Updates are as long as parameters, a fiftieth each: a short run needs a higher rate.
        c.optimizer.update(learning_rate=5e-3, warmup_steps=100)
    return c


def spanbert(name, arguments):
    """SpanBERT's pretraining: masked spans, also predicted from their ends (Joshi et al. 2020, section 4.2).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of SPANBERT_SIZES, and
            `boundary=false` leaves the second loss out.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(SPANBERT_SIZES), boundary=(True, False))
    _masked(c, "spanbert", options["size"], batch_size=256, steps=2_400_000)
    if options["boundary"]:
        c.objective.update(name="span_boundary", boundary_weight=1.0, boundary_targets=15)
    else:
        c.objective.masking = "spans"
    c.objective.update(span_success=0.2, longest_span=10)
    c.tokenizer.update(kind="wordpiece", vocab_size=28996, lowercase=False)
    c.optimizer.update(learning_rate=1e-4, warmup_steps=10_000, beta2=0.999, epsilon=1e-8, clip_norm=1.0)
    families.place(c, **SPANBERT_SIZES[options["size"]])
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
    return c


def unilm(name, arguments):
    """UniLM's pretraining: gaps filled in four directions, and next sentences (Dong et al. 2019, section 2.4).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `size` is one of UNILM_SIZES.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, size=tuple(UNILM_SIZES))
    _masked(c, "unilm", options["size"], batch_size=330, steps=770_000)
    c.objective.update(name="unilm", longest_ngram=3, ngram_share=0.2)
    c.tokenizer.update(kind="wordpiece", vocab_size=28996, lowercase=False)
    c.optimizer.update(learning_rate=3e-5, warmup_steps=40_000, beta2=0.999, clip_norm=1.0)
    c.init.rules = ((r".*/token_type/.*", None), *c.init.rules)  # BERT has two types, and these mean other things
    families.place(c, **UNILM_SIZES[options["size"]])
    if options["tiny"]:
        families.shrink(c, TINY_MASKED)
    return c


def _masked(c, family, preset, *, batch_size, steps):
    """What the encoders after BERT share: masks drawn anew each time, and windows over the text unless they differ.

    Adam corrects its bias, its decay is decoupled, and the rate falls linearly to 0 at the last step.
    """
    c.model.update(family=family, preset=preset)
    c.objective.update(name="masked_lm", pairs="none")
    c.data.update(sequence_length=512, packing="windows")
    c.train.update(batch_size=batch_size, steps=steps)
    c.optimizer.update(
        name="adamw", schedule="linear", decay_steps=steps, beta1=0.9, epsilon=1e-6, weight_decay=0.01
    )  # fmt: skip
