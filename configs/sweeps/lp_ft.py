"""Full finetuning, a linear probe and both in turn, under a shift of the domain (Kumar et al. 2022, arXiv:2202.10054).

    python sweep.py --sweep=configs/sweeps/lp_ft.py --study --parallel=2

Nine runs of half a minute, on three that are pretrained; about ten minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, FEW, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

EVALUATE = ["--task=definition", "--split=test", "--bootstrap=0"]
TASK = "configs/finetune/classify.py:tiny,task=definition"
STUDY = Study(
    title="Finetuning and probing under a shift of the domain",
    claim="Full finetuning is better than a linear probe on the domain that it has learned from and worse on others; "
    "probing first and finetuning then is better than both.",
    source="Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features, arXiv:2202.10054, abstract",
    published="Ten shifts, images: finetuning is 2 points better than the probe in distribution and 7 worse out of it; "
    "the probe and then finetuning 1 better than finetuning in distribution and 10 out of it.",
    here="A BERT of two layers of 128 has read 600 batches of 16 x 64 tokens of the embedded corpus, without the texts "
    "that it is judged by, and learns in 120 steps of 16 texts of Python, NumPy and SciPy whether a docstring is of a "
    "class (`lp_ft`: 40 more before, of the head alone). It is validated on the same packages and tested on the "
    "others, 88 texts each.",
    metric="definition/accuracy",
    more_metrics=("validation/accuracy",),
    lower_is_better=False,
    columns=("validation/accuracy", "definition/accuracy", "definition/f1"),
    not_shown=f"{STILL_SMALL} With 88 texts one standard error of a run's accuracy is five points, and all seeds share "
    "the texts.",
)


def sweep():
    """Three methods, three seeds."""
    methods = chain(
        {"config": TASK},
        {"config": f"{TASK},method=linear_probe"},
        {"config": f"{TASK},method=lp_ft", "finetune.probe_steps": 40},
    )
    return product(methods, begun_with(BERT), FEW)
