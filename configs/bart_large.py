"""BART-large, 406M parameters: a noised text read back whole (Lewis et al. 2020, arXiv:1910.13461).

    python train.py --config=configs/bart_large.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/bart_large.py:data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/bart_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 128 accelerators of 80 GB, computing in bfloat16.

`noise` is as in bart_base; the default is the published one, section 5.1: spans of 30% of the words become one mask
each, and all sentences change places. Batch and steps are the paper's; it prints no rate: that and the warm-up are
RoBERTa-large's. Not as published: dropout stays on in the last tenth of training; rows are windows of 512 tokens.

Published, finetuned: F1 94.6 on SQuAD 1.1, accuracy 89.9% on MNLI (table 2); ROUGE-L 40.90 on CNN/DailyMail and 37.25
on XSum (table 3). That model read 160 GB of news, books, stories and web text. Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.bart(
        "bart_large", arguments, preset="large", learning_rate=4e-4, warmup_steps=30_000, devices=128, microbatches=4
    )
