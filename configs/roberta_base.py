"""RoBERTa-base, 125M parameters: masked tokens without pairs (Liu et al. 2019, arXiv:1907.11692).

    python train.py --config=configs/roberta_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/roberta_base.py:data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/roberta_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 64 accelerators of 80 GB, computing in bfloat16.

Masks are drawn anew each time. Rows are the paper's FULL-SENTENCES: as many whole sentences as fit in 512 tokens,
across documents, with a separator between two of them.

Published, finetuned: dev accuracy 87.6% on MNLI, 94.8% on SST-2 (the authors' fairseq release). That model read 160 GB:
BooksCorpus and Wikipedia, CC-News, OpenWebText and Stories. Without `data` it reads pydocs, documentation that every
installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by
heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.roberta(
        "roberta_base", arguments, preset="base", learning_rate=6e-4, warmup_steps=24_000, devices=64, microbatches=4
    )
