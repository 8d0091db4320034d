"""Should a row show other hidden tokens each time it comes? (Liu et al. 2019, arXiv:1907.11692.)

    python sweep.py --sweep=configs/sweeps/static_masks.py --study --parallel=2

Six runs on three hundredths of the embedded corpus, which they read three and a half times; about six minutes on two
CPU cores.
"""

from cloze.configs.sweeps import EVALUATE, HERE, SEEDS, SHORT, SMALL  # noqa: F401
from cloze.sweeps import Study, product

STUDY = Study(
    title="Static and dynamic masks",
    claim="Masks that are drawn anew each time a row is read are as good as fixed ones, or slightly better.",
    source="Liu et al. 2019, RoBERTa, arXiv:1907.11692, section 4.1 and table 1",
    published="BERT-base, finetuned, SQuAD 2.0 F1, MNLI-m and SST-2 accuracy: static (10 masks of each text) 78.3, "
    "84.3, 92.5; dynamic 78.7, 84.0, 92.9; medians of five seeds.",
    here=f"{HERE} They are of three hundredths of it, read three and a half times; `static_masks` is how many masks a "
    "row has in turn, 0: a new one each time. All are validated with the same masks.",
    metric="validate_as/mlm",
    lower_is_better=True,
    not_shown=f"{SMALL} BERT has ten masks of a row and shows each four times; here is one, shown three or four times.",
)


def sweep():
    """Dynamic masks and one, three seeds."""
    axes = {"config": "configs/demo.py", "data.validation_share": 0.97, "objective.static_masks": [0, 1]}
    return product(axes, SHORT, seed=SEEDS)
