"""Does a task on pairs of sentences help? (Devlin et al. 2019; Liu et al. 2019; Lan et al. 2020.)

    python sweep.py --sweep=configs/sweeps/sentence_pairs.py --study --parallel=2

Nine runs, about nine minutes on two CPU cores.
"""

from cloze.configs.sweeps import HERE, SEEDS, SHORT, SMALL
from cloze.sweeps import Study, product

STUDY = Study(
    title="Next sentences, order of sentences, neither",
    claim="Without the task of next sentences, on full sentences, BERT does as well or slightly better.",
    source="Liu et al. 2019, RoBERTa, arXiv:1907.11692, section 4.2 and table 2",
    published="BERT-base, finetuned, SQuAD 1.1 and 2.0 F1, MNLI-m, SST-2 and RACE accuracy: segment pairs with the "
    "task 90.4, 78.7, 84.0, 92.9, 64.2; full sentences without it 90.4, 79.1, 84.7, 92.5, 64.8.",
    here=f"{HERE} Each run is validated on hidden tokens of rows as its own: 64 tokens, of two texts where there is a "
    "task on pairs.",
    metric="validation/mlm",
    lower_is_better=True,
    not_shown=f"{SMALL} Rows of one text give a hidden token more to be found by than rows of two, whatever the task.",
)


def sweep():
    """Three tasks, three seeds."""
    configs = ["configs/demo.py:pairs=next_sentence", "configs/demo.py:pairs=sentence_order", "configs/demo.py"]
    return product({"config": configs}, SHORT, seed=SEEDS)
