"""ELECTRA against masked tokens at equal operations, with its ablations (Clark et al. 2020, arXiv:2003.10555).

    python sweep.py --sweep=configs/sweeps/electra.py --study --parallel=2

Fifteen runs, on fifteen that are pretrained; about half an hour on two CPU cores.
"""

from cloze.configs.sweeps import CLASSIFY, FEW, HELD_OUT, LABELS, RUN, SEEDS, SHAPE, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

# Steps that take as many operations as 600 of masked tokens, by the GFLOP of a step that train.py prints: 2.891 there,
# then 3.207, 4.818, 3.373 and 3.207.
STEPS = {"detect": 541, "all_tokens_mlm": 360, "replace_mlm": 514, "detect_hidden": 541}
MASKED = 600
STUDY = Study(
    title="ELECTRA against masked tokens, at equal operations",
    claim="Detecting replaced tokens teaches more than filling in hidden ones: because all tokens are scored more than "
    "because no [MASK] is seen.",
    source="Clark et al. 2020, ELECTRA, arXiv:2003.10555, section 3.4 and table 5",
    published="GLUE, size base, as many steps: ELECTRA 85.0, all-tokens MLM 84.3, replace MLM 82.4, ELECTRA of the "
    "hidden 15% alone 82.4, BERT 82.2.",
    here="Models of two layers of 128 over 2,048 pieces, with generators of a quarter of that width, read batches of "
    "16 x 64 tokens of the embedded corpus without the texts that they are judged by. BERT has 600 steps, the others "
    "as many fewer as makes their operations equal within 1%. Then the encoder learns in 120 steps of 16 texts to tell "
    f"from which of ten packages a docstring is, from {LABELS:,} labelled texts.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1_macro"),
    not_shown=f"{STILL_SMALL} Whether 50 is the right weight of so small a discriminator's loss; the published figures "
    "are at equal steps, and ELECTRA at equal operations is in table 1 of the paper.",
)


def sweep():
    """Masked tokens, ELECTRA and three ablations; three seeds."""
    adam = {"optimizer.name": "adamw", "optimizer.learning_rate": 1e-3}

    def pretrained(config, steps):
        lengths = ("train.steps", "train.eval_every", "checkpoint.every", "optimizer.decay_steps")
        return product({"config": config}, HELD_OUT, RUN | dict.fromkeys(lengths, steps), SHAPE, adam, seed=SEEDS)

    bases = [pretrained("configs/bert_base.py:tiny,pairs=none", MASKED)]
    bases += [pretrained(f"configs/electra.py:tiny,task={task}", steps) for task, steps in STEPS.items()]
    return product(chain(*map(begun_with, bases)), {"config": CLASSIFY, "task.limit": LABELS}, FEW)
