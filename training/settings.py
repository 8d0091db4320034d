"""The options of a run: those at the top of a configuration, and its sections `train`, `init` and `checkpoint`."""

import dataclasses

from cloze.models.random_bits import GENERATORS
from cloze.options import BY_HAND, FREELY, GIVEN, Duration, Name, Path, Pattern, Place, Span, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """At the top."""

    name: Name = option("base", "the experiment's name; names the default workdir")
    seed: int = option(0, "decides initial parameters, order of the data, masks and dropout", least=0, most=2**32 - 1)
    devices: int = option(
        1, "devices the experiment is meant for; only checked by tests and planning", changes=FREELY, least=1
    )
    trainable: tuple[tuple[Pattern, bool], ...] = option(
        ((r".*", True),), "ordered rules (pattern over parameter names, trains or not)"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Section `train`."""

    steps: Duration = option(100_000, "length of the run, a duration", changes=FREELY, least=1)
    batch_size: int = option(256, "rows per step, over all devices", least=1)
    microbatches: int = option(
        1,
        "parts that a step's batch is cut into; gradients are summed. Another number draws other dropout",
        changes=FREELY,
        least=1,
    )
    ema_decay: float = option(
        0.0,
        "beside the parameters that train, an exponential moving average of them with this decay, which checkpoints "
        "keep and --ema of eval.py, generate.py and convert.py reads; 0: none",
        least=0,
        below=1,
    )
    log_every: Duration = option(50, "metrics to the log, a duration", changes=FREELY, least=1)
    eval_every: Duration = option(1_000, "validation, a duration", changes=FREELY, least=1)
    eval_batches: int = option(20, "validation batches at most", changes=FREELY, least=1)
    on_divergence: str = option(
        "stop",
        "what a step does whose loss or gradient is not finite: stop ends the run; skip makes no update; rewind goes "
        "back to the newest checkpoint and leaves out the data from there to this step",
        choices=("stop", "skip", "rewind"),
        changes=FREELY,
    )
    most_divergences: int = option(
        10,
        "so many in a row end the run all the same: steps skipped without an update between them, or rewinds to one "
        "checkpoint",
        changes=FREELY,
        least=1,
    )
    spike_deviations: float = option(
        10.0,
        "a step is marked in the metrics where its loss or gradient norm is over the median of the 128 steps before it "
        "by more than so many of their median deviations; 0: none is",
        changes=FREELY,
        least=0,
    )
    dropout_generator: str = option(
        "counter",
        "random bits for dropout: counter hashes the place of each unit and is fastest, the others are JAX's",
        choices=GENERATORS,
    )
    profile: Span = option(
        "",
        'the first and the last step of a trace for a profiler, such as "100:105", in profile/ of the workdir; empty: '
        "none",
        changes=FREELY,
    )
    compile_cache: Place = option(
        "~/.cache/cloze/compiled", "compiled programs kept between runs; empty: nowhere", changes=FREELY
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Section `init`: what a run begins with."""

    checkpoint: Path = option(
        "",
        "workdir of a run, or a Hugging Face directory, whose parameters this one starts from; empty: none",
        changes=BY_HAND,
    )
    step: Name = option(
        "newest",
        "which checkpoint of that run: newest, best (checkpoint.best there), or the number of a step",
        needs={"checkpoint": GIVEN},
        changes=BY_HAND,
    )
    inherit: bool = option(
        False,
        "the tokenizer, and all options of `model` that are at their defaults, are those of init.checkpoint; False "
        "again once they are filled in",
        needs={"checkpoint": GIVEN},
        changes=BY_HAND,
    )
    parameters: bool = option(
        True,
        "False: what is inherited is the shape alone, and all parameters are initialised",
        needs={"checkpoint": GIVEN},
        changes=BY_HAND,
    )
    rules: tuple[tuple[Pattern, str | None], ...] = option(
        ((r"(.*)", r"\1"),),
        "ordered rules (pattern over this model's names, name in that run or None for 'not from there'); \\1 is the "
        "pattern's first group. What that run does not have is initialised",
        changes=BY_HAND,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Section `checkpoint`."""

    every: Duration = option(
        1_000, "duration between checkpoints; the last step is always saved", changes=FREELY, least=1
    )
    keep: int = option(2, "newest checkpoints kept", changes=FREELY, least=1)
    keep_every: Duration | None = option(
        None,
        "checkpoints at multiples of this duration are kept for good, so that it is a multiple of `every`; None: none",
        changes=FREELY,
        least=1,
    )
    best: Name = option(
        "",
        "the best checkpoint by this metric is kept as well, for example validation/loss; eval.py and generate.py read "
        "it with --step=best, other runs begin with it by init.step=best; empty: none",
        changes=FREELY,
    )
    best_is: str = option(
        "lowest",
        "which value of that metric is the best one: of losses the lowest, of accuracies the highest",
        choices=("lowest", "highest"),
        needs={"best": GIVEN},
        changes=FREELY,
    )
