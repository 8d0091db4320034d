"""Sweeps and studies, one file each (docs/sweeps.md), and what the studies share.

A study trains `configs/demo.py`, shortened, with three seeds of each setting: a minute or two for a run on two CPU
cores.
"""

STEPS = 1500
SHORT = {  # of configs/demo.py
    "train.steps": STEPS,
    "train.eval_every": 250,
    "optimizer.decay_steps": STEPS,
    "optimizer.warmup_steps": 250,
    "checkpoint.keep": 1,
}
SEEDS = [0, 1, 2]
HERE = "The BERT of `make demo`, shorter, on the embedded corpus."
SMALL = "Finetuning, which the published figures are of; models of a useful size; longer runs; other text."
EVALUATE = ["--validate_as=objective.mask_rate=0.15,objective.masking=tokens,objective.static_masks=0,"
            "train.eval_batches=200"]  # fmt: skip
