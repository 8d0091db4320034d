"""LSTM language model, 111M parameters: what a classifier starts from (Dai and Le 2015, arXiv:1511.01432).

    python train.py --config=configs/lstm_lm.py:tiny       # minutes on two CPU cores
    python train.py --config=configs/lstm_lm.py:data=lm1b  # 100,000 steps of 128 rows of 400 words

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

One layer of 1,024 cells, as there; embeddings are as wide, not 512, and are reused by the vocabulary head. Adam takes
the place of plain gradient descent. Text is cut at words; rarer ones than the vocabulary holds are one unknown word.

Published: a classifier of IMDB reviews errs on 7.64% when it starts from this model, on 13.5% when it starts from
nothing (table 2). Without `data` it reads pydocs, documentation that every installation holds.
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.lstm_lm("lstm_lm", arguments, devices=1)
