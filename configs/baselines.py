"""Experiments from before transformers, word vectors and LSTMs, and the classifiers that start from them.

All split text into words, of which the most frequent are kept, so that what one of them learned fits another.
"""

from cloze.configs import base, families

_TINY_LSTM = dict(families.TINY_MODEL, layers=1, heads=1, ffn=192)
_TINY_ELMO = dict(families.TINY_MODEL, heads=1, ffn=256)
_TINY_VECTORS = {key: families.TINY_MODEL[key] for key in ("width", "vocab_size")}
TINY = {
    "lstm_lm": dict(
        model=_TINY_LSTM,
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=96),
        train=dict(families.TINY_RUN, steps=1000),
        optimizer=dict(learning_rate=3e-3, warmup_steps=50, decay_steps=1000),
        checkpoint=dict(every=500),
    ),
    "lstm_classifier": dict(
        model=_TINY_LSTM,
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=96),
        train=dict(families.TINY_RUN, steps=1000),
        optimizer=dict(learning_rate=3e-3, warmup_steps=50, decay_steps=1000),
        checkpoint=dict(every=500),
    ),
    "elmo": dict(
        model=dict(_TINY_ELMO, layers=2),
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=64),
        train=dict(families.TINY_RUN, steps=500),
        optimizer=dict(learning_rate=3e-3, warmup_steps=40, decay_steps=500),
        checkpoint=dict(every=500),
    ),
    "elmo_classifier": dict(
        model=dict(_TINY_ELMO, layers=1),
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=64),
        train=dict(families.TINY_RUN, steps=700),
        optimizer=dict(learning_rate=3e-3, warmup_steps=40, decay_steps=700),
        checkpoint=dict(every=500),
    ),
    "skip_gram": dict(
        model=_TINY_VECTORS,
        objective=dict(subsample=1e-3),  # of a few million words, 1e-5 leaves next to nothing
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=64),
        train=dict(families.TINY_RUN, steps=1500),
        optimizer=dict(learning_rate=3e-3, warmup_steps=75, decay_steps=1500),
        checkpoint=dict(every=500),
    ),
    "glove": dict(
        model=_TINY_VECTORS,
        tokenizer=dict(vocab_size=4096),
        data=dict(sequence_length=2048),
        train=dict(families.TINY_RUN, steps=1500),
        optimizer=dict(warmup_steps=75),
        checkpoint=dict(every=500),
    ),
}


def lstm_lm(name, arguments, **place):
    """An LSTM as a language model, to start a classifier from (Dai and Le 2015, section 2.2).

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
    _words(c, "lstm", "base")
    c.objective.name = "causal_lm"
    c.data.sequence_length = 400
    c.train.update(batch_size=128, steps=100_000)
    _adam(c, learning_rate=1e-3, steps=100_000)
    return _finish(c, options, place)


def elmo(name, arguments, **place):
    """ELMo's language model of both directions (Peters et al. 2018, section 3.1 and 3.4).

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
    _words(c, "elmo", "base")
    c.objective.name = "bidirectional_lm"
    c.data.sequence_length = 64
    c.train.update(batch_size=384, steps="10 epochs")
    _adam(c, learning_rate=1e-3, steps="10 epochs")
    return _finish(c, options, place)


def skip_gram(name, arguments, **place):
    """Skip-gram with negative sampling (Mikolov et al. 2013, sections 2.2 and 3).

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
    _words(c, "skip_gram", "base")
    c.objective.update(name="skip_gram", context_window=5, negatives=5, noise_power=0.75, subsample=1e-5)
    c.data.sequence_length = 512
    c.train.update(batch_size=32, steps="1 epochs")
    _adam(c, learning_rate=1e-3, steps="1 epochs")
    return _finish(c, options, place)


def glove(name, arguments, **place):
    """GloVe (Pennington et al. 2014, section 4.2): AdaGrad at a constant rate.

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
    _words(c, "glove", "base")
    c.objective.update(name="glove", context_window=10, full_count=100.0, count_power=0.75)
    c.data.sequence_length = 8192
    c.train.update(batch_size=8, steps=300_000)
    c.optimizer.update(
        name="adagrad", learning_rate=0.05, schedule="constant", warmup_steps=15_000, epsilon=1e-8, weight_decay=0.0,
        clip_norm=0.0,
    )  # fmt: skip
    return _finish(c, options, place)


def lstm_classifier(name, arguments, **place):
    """A classifier of texts: an LSTM and its last state (Dai and Le 2015, section 3).

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config; `vectors` of words are frozen, the default, or tuned.
        **place: see `families.place`.

    Returns:
        The configuration.

    Raises:
        ConfigError: an unknown argument or value.
    """
    c, options = base.experiment(name, arguments, vectors=("frozen", "tuned"))
    _words(c, "lstm", "base")
    if options["vectors"] == "frozen":
        c.trainable = ((r"token/.*", False), (r".*", True))
    _classify(c)
    return _finish(c, options, place)


def elmo_classifier(name, arguments, **place):
    """A classifier that reads the states of ELMo, which is frozen (Peters et al. 2018, sections 3.2 and 3.3).

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
    _words(c, "elmo", "classifier")
    c.trainable = ((r"elmo/.*", False), (r".*", True))
    c.init.rules = ((r"elmo/(.*)", r"\1"), (r".*", None))
    _classify(c)
    return _finish(c, options, place)


def _words(c, family, preset):
    """What all share: words, and no weight decay."""
    c.model.update(family=family, preset=preset)
    c.tokenizer.update(kind="word", vocab_size=100_000)
    c.optimizer.weight_decay = 0.0


def _adam(c, *, learning_rate, steps):
    """Adam, falling linearly, in place of the papers' plain or AdaGrad descent over single examples."""
    c.optimizer.update(
        name="adamw", learning_rate=learning_rate, schedule="linear", warmup_steps=1_000, decay_steps=steps,
        beta1=0.9, beta2=0.999, epsilon=1e-8, clip_norm=1.0,
    )  # fmt: skip


def _classify(c):
    """The task, and a run over it."""
    c.objective.update(name="supervised", lm_weight=0.0)
    c.task.name = "package"
    c.model.num_labels = 10
    c.data.sequence_length = 400
    c.train.update(batch_size=64, steps=3_000)
    _adam(c, learning_rate=1e-3, steps=3_000)
    c.optimizer.warmup_steps = 150


def _finish(c, options, place):
    families.place(c, **place)
    if options["tiny"]:
        families.shrink(c, TINY[c.name])
    return c
