"""Which optimizer, each at its own rate? (Zhao et al. 2024, arXiv:2407.07972; Liu et al. 2025, arXiv:2502.16982.)

    python sweep.py --sweep=configs/sweeps/optimizers.py --study --parallel=2

36 runs, about twenty minutes on two CPU cores.
"""

from cloze.configs.sweeps import RUN, SEEDS
from cloze.sweeps import Study, chain, product

STEPS = 300
STUDY = Study(
    title="Optimizers, each with its own rate",
    claim="Tuned alike, Adam, Adafactor and Lion do about as well; Muon needs about half of AdamW's operations.",
    source="Zhao et al. 2024, Deconstructing What Makes a Good Optimizer for Language Models, arXiv:2407.07972, "
    "abstract; Liu et al. 2025, Muon is Scalable for LLM Training, arXiv:2502.16982, abstract",
    published="No clear winner among Adam, Adafactor, Lion and Sophia over sizes of models and ranges of options. "
    "Muon: twice AdamW's computational efficiency in scaling laws of compute-optimal training.",
    here=f"A BERT of two layers of 128 over 2,048 pieces reads {STEPS} batches of 16 x 64 tokens of the embedded "
    "corpus. Each optimizer has three rates, a factor of about three apart, around those that are usual for it; "
    "warm-up and decay are the same.",
    metric="validation/mlm",
    lower_is_better=True,
    columns=("train/loss", "validation/mlm", "validation/mlm_accuracy"),
    tuned=("optimizer.learning_rate",),
    not_shown="Models of a useful size; longer runs; momentum, weight decay and schedules that suit each; seconds a "
    "step. A best rate at the end of its three may not be the best there is, and is chosen by the loss that is "
    "compared.",
)


def sweep():
    """Four optimizers with three rates each, three seeds."""
    rates = {
        "adamw": [6e-4, 2e-3, 6e-3], "adafactor": [1e-2, 3e-2, 1e-1], "lion": [1e-4, 3e-4, 1e-3],
        "muon": [6e-4, 2e-3, 6e-3],
    }  # fmt: skip
    tried = chain(*({"optimizer.name": name, "optimizer.learning_rate": list(some)} for name, some in rates.items()))
    lengths = {key: STEPS for key in ("train.steps", "train.eval_every", "checkpoint.every", "optimizer.decay_steps")}
    return product({"config": "configs/demo.py"}, tried, RUN | lengths | {"optimizer.warmup_steps": 30}, seed=SEEDS)
