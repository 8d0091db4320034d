"""How many labels does pretraining save? (Howard and Ruder 2018, arXiv:1801.06146.)

    python sweep.py --sweep=configs/sweeps/labels.py --study --parallel=2

Eighteen runs of half a minute, on three that are pretrained; about fifteen minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, CLASSIFY, FEW, FINETUNED, STILL_SMALL, begun_with
from cloze.sweeps import Study, product

STUDY = Study(
    title="Labels, from ten to all",
    claim="A pretrained model needs far fewer labels, and gains most where there are few.",
    source="Howard and Ruder 2018, ULMFiT, arXiv:1801.06146, abstract and section 5",
    published="With 100 labelled examples ULMFiT matches training from scratch on 100 times as many.",
    here=f"{FINETUNED} `task.limit` is how many labelled texts there are, 0: all 13,972, of which a run reads 1,920. "
    "With `init.parameters=False` all parameters are new.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1_macro"),
    within=("task.limit",),
    not_shown=f"{STILL_SMALL} A model from scratch would gain more from longer training than a pretrained one.",
)


def sweep():
    """Three numbers of labels, with and without pretraining, three seeds."""
    axes = {"config": CLASSIFY, "task.limit": [10, 100, 0], "init.parameters": [False, True]}
    return product(axes, begun_with(BERT), FEW)
