"""Finetuning experiments: a model that was trained before, a task, and a strategy.

The model's shape and the tokenizer are those of `init.checkpoint`; without one, the model of the configuration is
trained from scratch. The argument `method` is one of base.METHODS, with the rate that it needs; `limit` is the number
of labelled examples that are used.
"""

from cloze.configs import base
from cloze.models.heads import label_pattern

# Rates for models of published sizes, and for small ones as `tiny` experiments pretrain. Full: Devlin et al. 2019,
# appendix A.3; LoRA: Hu et al. 2022, table 11; adapters: Houlsby et al. 2019, section 3.1; prompts: Lester et al. 2021,
# section 3; biases: Ben-Zaken et al. 2022, table 2.
RATES = {
    "full": 3e-5, "linear_probe": 1e-3, "freeze": 3e-5, "last_layers": 5e-5, "gradual": 5e-5, "lp_ft": 2e-5,
    "bitfit": 1e-3, "lora": 4e-4, "adapters": 3e-4, "prefix": 5e-3, "prompt": 0.3, "p_tuning": 1e-3,
}  # fmt: skip
TINY_RATES = {
    "full": 5e-4, "linear_probe": 1e-2, "freeze": 5e-4, "last_layers": 1e-3, "gradual": 1e-3, "lp_ft": 3e-4,
    "bitfit": 3e-3, "lora": 3e-3, "adapters": 2e-3, "prefix": 1e-2, "prompt": 3e-2, "p_tuning": 3e-3,
}  # fmt: skip
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
    c, options = base.experiment(name, arguments, task=task, method=base.METHODS, limit=LIMITS, **known)
    method = options["method"]
    c.task.name = options["task"]
    c.task.limit = base.whole_number("limit", options["limit"])
    # What an earlier task has left in the last layer is of other labels.
    c.init.update(inherit=True, rules=((label_pattern(last=True), None), *c.init.rules))
    c.objective.name = objective
    c.finetune.method = method
    c.data.sequence_length = 128
    c.train.update(batch_size=32, log_every=50, eval_every="1 epochs", eval_batches=10_000)
    lasts(c, "3 epochs")
    c.checkpoint.update(every="1 epochs", keep=1)
    c.optimizer.update(
        name="adamw", learning_rate=RATES[method], schedule="linear", warmup_steps="0.3 epochs", beta2=0.999,
        epsilon=1e-8, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    if options["tiny"]:
        c.model.scan = False  # unrolled, as the small models are pretrained
        c.update(TINY)
        lasts(c, "2 epochs")
        c.update(tiny or {})
        c.optimizer.learning_rate = TINY_RATES[method]
    if c.task.limit:  # a hundred steps at least, however few the examples
        epochs = 2 if options["tiny"] else 3
        lasts(c, max(-(-epochs * c.task.limit // c.train.batch_size), 100))
        c.optimizer.warmup_steps, c.train.eval_every = c.train.steps // 10, c.train.steps // 4
    _settle(c, method, options["tiny"])
    return c, options


def lasts(c, steps):
    """Sets the length of a run, and that of its schedule."""
    c.train.steps = c.optimizer.decay_steps = steps


def pack(c):
    """Packs examples into rows, except under a prompt, which is in front of a row and so of one example."""
    c.task.batching = "buckets" if c.finetune.method in ("prompt", "p_tuning") else "pack"


def _settle(c, method, tiny):
    """What a method has beside its rate."""
    if method in ("linear_probe", "bitfit", "prompt"):
        c.optimizer.weight_decay = 0.0
    if method == "lp_ft":
        c.finetune.probe_learning_rate = 1e-2 if tiny else 1e-3
        c.finetune.probe_steps = "1 epochs"
    if method in ("freeze", "last_layers"):
        c.finetune.layers = 1
    if method == "gradual":  # Howard and Ruder 2018, sections 3.2 and 3.3; theirs has an epoch for each of four layers
        c.optimizer.update(schedule="slanted_triangular", final_fraction=1 / 32, layer_decay=1 / 2.6)
    if method == "prompt" and not tiny:  # Lester et al. 2021, section 3: Adafactor without parameter scaling
        c.optimizer.update(
            name="adafactor", scale_by_parameter=False, schedule="constant", warmup_steps=0, weight_decay=1e-5,
            clip_norm=0.0, multipliers=((label_pattern(last=True), 3e-3), (r".*", 1.0)),
        )  # fmt: skip
        c.finetune.prompt_length = 100
