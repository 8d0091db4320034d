"""How many layers need to be finetuned? (Lee et al. 2019, arXiv:1911.03090.)

    python sweep.py --sweep=configs/sweeps/freezing.py --study --parallel=2

Nine runs of half a minute, on three that are pretrained; about nine minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, CLASSIFY, FEW, FINETUNED, LABELS, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

STUDY = Study(
    title="Freezing the bottom",
    claim="The bottom layers can stay as they are: a quarter of the layers, the last ones, gives nine tenths of what "
    "finetuning reaches.",
    source="Lee et al. 2019, What Would Elsa Do?, arXiv:1911.03090, abstract",
    published="Of BERT and RoBERTa, base and large, on tasks of GLUE: a fourth of the layers, 90% of the quality.",
    here=f"{FINETUNED} There are {LABELS:,} labelled texts. The bottom `finetune.layers` of the two and the embeddings "
    "do not train; with two, the head alone and the dense layer under it do.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1_macro"),
    not_shown=f"{STILL_SMALL} Depth, of which two layers have little. The rate is 5e-4 for all.",
)


def sweep():
    """Nothing, one and both layers frozen, three seeds."""
    depths = chain({"config": CLASSIFY}, {"config": f"{CLASSIFY},method=freeze", "finetune.layers": [1, 2]})
    return product(depths, begun_with(BERT), FEW, {"task.limit": LABELS})
