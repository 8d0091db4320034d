"""Does the rank of LoRA matter? (Hu et al. 2022, arXiv:2106.09685.)

    python sweep.py --sweep=configs/sweeps/lora_rank.py --study --parallel=2

Nine runs of half a minute, on three that are pretrained; about nine minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, CLASSIFY, FEW, FINETUNED, LABELS, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

STUDY = Study(
    title="The rank of LoRA",
    claim="A very small rank is enough, and does as well as finetuning all parameters.",
    source="Hu et al. 2022, LoRA, arXiv:2106.09685, tables 4 and 6",
    published="GPT-3, accuracy on WikiSQL (± 0.5) and MultiNLI (± 0.1), queries and values changed: rank 1 73.4 and "
    "91.3, rank 8 73.8 and 91.6, rank 64 73.5 and 91.4; finetuning of everything 73.8 and 89.5.",
    here=f"{FINETUNED} There are {LABELS:,} labelled texts. Queries and values of both layers have factors of "
    "`finetune.lora_rank`; the first row trains everything.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1_macro"),
    not_shown=f"{STILL_SMALL} Rates are those of the methods, the same for all ranks.",
)


def sweep():
    """Everything, and two ranks; three seeds."""
    ranks = chain({"config": CLASSIFY}, {"config": f"{CLASSIFY},method=lora", "finetune.lora_rank": [1, 8]})
    return product(ranks, begun_with(BERT), FEW, {"task.limit": LABELS})
