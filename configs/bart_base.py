"""BART-base, 139M parameters: a noised text read back whole (Lewis et al. 2020, arXiv:1910.13461).

    python train.py --config=configs/bart_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/bart_base.py:data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/bart_base.py:noise=rotate,tiny
    python train.py --config=configs/bart_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 64 accelerators of 80 GB, computing in bfloat16.

`noise` is infill+permute, the published mixture and the default (spans of 30% of the words become one mask each, all
sentences change places), or one of the paper's comparisons alone: mask, delete, infill, permute, rotate. The rates of
mask and delete are our choice, 15%; rotate turns every row.

The paper gives the noise, the batch, the steps and the size of a model of 12 layers (see bart_large); the base size,
for which it prints no recipe of its own, takes that, with RoBERTa-base's rate and warm-up. Rows are windows of 512
tokens, whose first and last sentences may be parts of one.

Published, finetuned: F1 90.8 on SQuAD 1.1, accuracy 83.8% on MNLI (table 1, infilling and permuting), after a million
steps of 256 rows of books and Wikipedia. Without `data` it reads pydocs, documentation that every installation holds:
a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.bart(
        "bart_base", arguments, preset="base", learning_rate=6e-4, warmup_steps=24_000, devices=64, microbatches=4
    )
