"""Sweeps and studies, one file each (docs/sweeps.md), and what the studies share.

A study trains the first part of `configs/demo.py` with three seeds of each setting: a minute or two for a run on two
CPU cores. The schedule stays that of the whole: with half its warm-up the runs ended at the unigram distribution.
"""

SHORT = {"train.steps": 1500, "train.eval_every": 250, "checkpoint.keep": 1}  # of configs/demo.py
SEEDS = [0, 1, 2]
HERE = "The first 1,500 steps of the BERT of `make demo`, on the embedded corpus."
SMALL = "Finetuning, which the published figures are of; models of a useful size; longer runs; other text."
EVALUATE = ["--validate_as=objective.mask_rate=0.15,objective.masking=tokens,objective.static_masks=0,"
            "train.eval_batches=200"]  # fmt: skip
