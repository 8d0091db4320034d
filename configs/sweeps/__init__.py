"""Sweeps and studies, one file each (docs/sweeps.md), and what the studies share.

A study trains models of two layers of 128, half a million of whose parameters are not embeddings, for some hundred
steps: a minute or less for a run on two CPU cores. So short a run needs Adam with bias correction; BERT's own, with a
tenth of its warm-up, ends at the unigram distribution.
"""

from cloze.sweeps import product

STEPS = 600
SHORT = {  # of configs/demo.py and what else is pretrained here
    "model.layers": 2, "train.steps": STEPS, "train.eval_every": STEPS, "checkpoint.every": STEPS, "checkpoint.keep": 1,
    "optimizer.name": "adamw", "optimizer.learning_rate": 2e-3, "optimizer.warmup_steps": 60,
    "optimizer.decay_steps": STEPS,
}  # fmt: skip
SEEDS = [0, 1, 2]
HERE = "A BERT of two layers of 128 over 2,048 pieces reads 600 batches of 16 x 64 tokens of the embedded corpus."
SMALL = "Finetuning, which the published figures are of; models of a useful size; longer runs; other text."
EVALUATE = ["--validate_as=objective.mask_rate=0.15,objective.masking=tokens,objective.static_masks=0,"
            "train.eval_batches=200"]  # fmt: skip

# What studies of finetuning begin with: BERT, pretrained without the text that tasks are judged by.
BERT = product({"config": "configs/demo.py", "data.validation_share": 0.1}, SHORT, seed=SEEDS)
