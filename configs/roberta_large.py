"""RoBERTa-large, 355M parameters: masked tokens without pairs (Liu et al. 2019, arXiv:1907.11692).

    python train.py --config=configs/roberta_large.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/roberta_large.py:data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/roberta_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 128 accelerators of 80 GB, computing in bfloat16.

Masks are drawn anew each time. Rows are the paper's FULL-SENTENCES: as many whole sentences as fit in 512 tokens,
across documents, with a separator between two of them.

Published, finetuned: GLUE test average 88.5, SQuAD 1.1 dev EM/F1 88.9/94.6 (tables 5 and 6). That model read 160 GB:
BooksCorpus and Wikipedia, CC-News, OpenWebText and Stories. Without `data` it reads pydocs, documentation that every
installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by
heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.roberta(
        "roberta_large", arguments, preset="large", learning_rate=4e-4, warmup_steps=30_000, devices=128, microbatches=8
    )
