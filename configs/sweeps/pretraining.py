"""Pretraining against ELMo, word vectors and nothing (Devlin et al. 2019, arXiv:1810.04805).

    python sweep.py --sweep=configs/sweeps/pretraining.py --study --parallel=2

Fifteen runs, on nine that are pretrained; about twenty minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, CLASSIFY, FEW, HELD_OUT, LABELS, SEEDS, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

STUDY = Study(
    title="Pretraining, ELMo, GloVe and nothing",
    claim="A pretrained Transformer that is finetuned is better than ELMo's states, these are better than vectors of "
    "words, and all are better than nothing.",
    source="Devlin et al. 2019, BERT, arXiv:1810.04805, table 1; Peters et al. 2018, ELMo, arXiv:1802.05365, table 1",
    published="GLUE test, average: LSTMs over ELMo's states 71.0, OpenAI's GPT 75.1, BERT-base 79.6. ELMo's states "
    "where word vectors were: SST-5 from 51.4 to 54.7.",
    here=f"Each learns to tell from which of ten packages a docstring is, from {LABELS:,} labelled texts in 120 steps "
    "of 16. BERT (two layers of 128, 600 batches) is finetuned; an LSTM reads vectors of words that are new and train, "
    "or GloVe's, which are frozen; ELMo's states (500 batches) are frozen under another LSTM. Nothing was pretrained "
    "on the texts that it is judged by.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1_macro"),
    not_shown=f"{STILL_SMALL} Equal sizes, operations or tokenizers: ELMo and GloVe have words, BERT pieces.",
)


def sweep():
    """Five beginnings, three seeds."""
    bases = {name: product({"config": f"configs/{name}.py:tiny"}, HELD_OUT, seed=SEEDS) for name in ("glove", "elmo")}
    lstm = "configs/lstm_classifier.py:tiny"
    arms = chain(
        product({"config": CLASSIFY}, begun_with(BERT)),
        product({"config": CLASSIFY, "init.parameters": False}, begun_with(BERT)),
        product({"config": "configs/elmo_classifier.py:tiny"}, begun_with(bases["elmo"])),
        product({"config": lstm}, begun_with(bases["glove"])),
        product({"config": f"{lstm},vectors=tuned"}, seed=SEEDS),
    )
    return product(arms, FEW, {"task.limit": LABELS, "train.eval_batches": 10_000})
