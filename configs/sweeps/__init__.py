"""Sweeps and studies, one file each (docs/sweeps.md), and what the studies share.

A study trains models of two layers of 128, of about 0.7 million parameters, for some hundred steps: about a minute for
a run on two quiet CPU cores. The minutes that a file names are estimates from its steps. So short a run takes Adam with
bias correction, because BERT's own needs a longer warm-up (configs/encoders.py). What is finetuned begins with a run of
the same seed, which is trained once for all studies that lie in one folder.
"""

from cloze.sweeps import product, zip_

STEPS = 600
RUN = {  # of what is pretrained
    "model.layers": 2, "train.steps": STEPS, "train.eval_every": STEPS, "checkpoint.every": STEPS, "checkpoint.keep": 1,
    "optimizer.warmup_steps": 60, "optimizer.decay_steps": STEPS,
}  # fmt: skip
SHORT = {**RUN, "optimizer.name": "adamw", "optimizer.learning_rate": 2e-3}  # of configs/demo.py
SHAPE = {  # of configs/demo.py, for other models
    "model.width": 128, "model.heads": 2, "model.ffn": 512, "model.vocab_size": 2048, "tokenizer.vocab_size": 2048,
    "data.sequence_length": 64,
}  # fmt: skip
SEEDS = [0, 1, 2]
HERE = "A BERT of two layers of 128 over 2,048 pieces reads 600 batches of 16 x 64 tokens of the embedded corpus."
SMALL = "Finetuning, which the published figures are of; models of a useful size; longer runs; other text."
EVALUATE = ["--validate_as=objective.mask_rate=0.15,objective.masking=tokens,objective.static_masks=0,"
            "train.eval_batches=200"]  # fmt: skip

HELD_OUT = {"data.validation_share": 0.1}  # no run reads the text that tasks are judged by
BERT = product({"config": "configs/demo.py"}, HELD_OUT, SHORT, seed=SEEDS)
CLASSIFY = "configs/finetune/classify.py:tiny,task=package"
LABELS = 1000
FEW = {  # of finetuning
    "train.steps": 120, "train.batch_size": 16, "train.eval_every": 120, "checkpoint.every": 120,
    "optimizer.warmup_steps": 12,
}  # fmt: skip
FINETUNED = (
    "A BERT of two layers of 128 has read 600 batches of 16 x 64 tokens of the embedded corpus, without the texts that "
    "it is judged by, and learns to tell from which of ten packages a docstring is, in 120 steps of 16 texts."
)
STILL_SMALL = "Models of a useful size, other tasks, tuned rates, training to convergence."


def begun_with(bases):
    """Runs of SEEDS, each of which begins with the base of its seed."""
    return zip_({"seed": SEEDS, "init.checkpoint": bases})
