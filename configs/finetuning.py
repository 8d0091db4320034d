"""Finetuning experiments: a model that was trained before, a task, and a strategy.

The model's shape and the tokenizer are those of `init.checkpoint`; without one, the model of the configuration is
trained from scratch. The argument `method` is a file of training/methods, with the rate that it needs; `limit` is the
number of labelled examples that are used.
"""

from cloze.configs import base
from cloze.models.heads import label_pattern
from cloze.training.methods import METHODS

TINY = dict(
    data=dict(sequence_length=64),
    train=dict(log_every=20),
    optimizer=dict(warmup_steps="0.2 epochs"),
)
LIMITS = "0"


def experiment(name, arguments, *, task, objective, tiny=None, **known):
    """A configuration of finetuning.

    Args:
        name: of the config file, without ".py".
        arguments: the text after the colon of --config.
        task: the default of the argument `task`.
        objective: objective.name.
        tiny: what the small version changes beside TINY.
        **known: further arguments, see `base.parse_arguments`.

    Returns:
        (the configuration, dict of the arguments' values).

    Raises:
        ConfigError: an unknown argument or value.
    """
    known |= dict(task=task, method=sorted(METHODS, key=lambda method: method != "full"), limit=LIMITS)
    c, options = base.experiment(name, arguments, **known)
    method = options["method"]
    c.task.name = options["task"]
    c.task.limit = base.whole_number("limit", options["limit"])
    # What an earlier task has left in the last layer is of other labels.
    c.init.update(inherit=True, rules=((label_pattern(last=True), None), *c.init.rules))
    c.objective.name = objective
    c.finetune.method = method
    c.data.sequence_length = 128
    c.train.update(batch_size=32, log_every=50, eval_every="1 epochs", eval_batches=10_000)
    c.train.steps = "3 epochs"  # and the schedule, which follows: optimizer.decay_steps is unset
    c.checkpoint.update(every="1 epochs", keep=1)
    c.optimizer.update(
        name="adamw", schedule="linear", warmup_steps="0.3 epochs", beta2=0.999,
        epsilon=1e-8, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    if options["tiny"]:
        c.update(TINY)
        c.train.steps = "2 epochs"
        c.update(tiny or {})
    if c.task.limit:  # a hundred steps at least, however few the examples
        epochs = 2 if options["tiny"] else 3
        c.train.steps = max(-(-epochs * c.task.limit // c.train.batch_size), 100)
        c.optimizer.warmup_steps, c.train.eval_every = c.train.steps // 10, c.train.steps // 4
    METHODS[method].suit(c, options["tiny"])
    return c, options
