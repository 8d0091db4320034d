"""Which size is a budget of operations best spent on? (Kaplan et al. 2020; Hoffmann et al. 2022, arXiv:2203.15556.)

    python sweep.py --sweep=configs/sweeps/scaling_law.py --study

Fifteen runs, five sizes for each of three budgets, about five minutes on two quiet CPU cores. A budget is 6 N D, so
that a larger model reads less; the learning rate falls to its end in each run. Sizes and budgets are chosen so that no
run reads a text twice.
"""

from cloze.laws.runs import training_flops
from cloze.sweeps import ScalingStudy, product

STUDY = ScalingStudy(
    title="The best size for a budget",
    claim="For a budget of operations there is a best size, and it grows as a power of the budget: with the exponent "
    "0.73 by Kaplan et al., with about 0.5 by Hoffmann et al., so that size and tokens grow alike.",
    source="Kaplan et al. 2020, arXiv:2001.08361, section 6.1; Hoffmann et al. 2022, arXiv:2203.15556, section 3 and "
    "tables 2 and 3",
    published="N ~ C^a and D ~ C^b over 400 models of 70 million to 16 billion parameters: by the envelope of training "
    "curves (approach 1) 0.50 and 0.50, by parabolas of equal budgets (approach 2) 0.49 and 0.51, by a fit of the loss "
    "(approach 3) 0.46 and 0.54; about 20 tokens for each parameter at 5.76e23 operations.",
    here="GPT-2s of two or three layers on the embedded corpus in 512 pieces, rows of 64 tokens, each with a schedule "
    "of its own length.",
    not_shown="Models of a useful size: the smallest of Hoffmann et al. has 180 times the parameters of the largest "
    "here. Up to two thirds of these are their tables, and attention adds to 6 N D. One seed, one learning rate and "
    "one batch size for all. Budgets that differ by a factor of nine say little about a hundred times as much. The "
    "lowest budget and its sizes were chosen when the minima of the others were known, and bands drawn from five runs "
    "of a budget are too narrow: of planted constants under noise they missed one or two in two of three tries.",
)

VOCABULARY, LENGTH, ROWS = 512, 64, 8  # a small vocabulary, for small tables
SIZES = {  # {budget: (layers, width) of its models}
    1.3e11: [(2, 12), (2, 16), (2, 24), (2, 32), (2, 48)],
    4e11: [(2, 16), (2, 24), (2, 32), (2, 48), (3, 64)],
    1.2e12: [(2, 24), (2, 32), (2, 48), (3, 64), (3, 96)],
}
SHARED = {
    "config": "configs/gpt2.py:tiny",
    "model.vocab_size": VOCABULARY,
    "model.max_positions": LENGTH,
    "tokenizer.vocab_size": VOCABULARY,
    "data.sequence_length": LENGTH,
    "train.batch_size": ROWS,
    "train.log_every": 100,
    "train.eval_every": 1_000_000,  # at the end only
    "train.eval_batches": 200,
    "checkpoint.every": 1_000_000,
    "checkpoint.keep": 1,
    "optimizer.learning_rate": 3e-3,  # near the best of three at widths of 32 and 96
    "optimizer.warmup_steps": 50,
    "optimizer.decay_steps": None,  # the schedule ends where the run does
}


def parameters(layers, width):
    """N of a GPT-2 of these layers: matrices, biases and norms of each, the last norm, and both tables."""
    return layers * (12 * width**2 + 13 * width) + 2 * width + (VOCABULARY + LENGTH) * width


def run(budget, layers, width):
    """One run: as many steps as the budget pays for."""
    steps = round(budget / training_flops(parameters(layers, width), ROWS * LENGTH))
    model = {"model.layers": layers, "model.width": width, "model.heads": max(1, width // 16), "model.ffn": 4 * width}
    return {**model, "train.steps": steps}


def sweep():
    """Five sizes for each budget."""
    return product([run(budget, *size) for budget, sizes in SIZES.items() for size in sizes], SHARED)
