"""T5-large, 738M parameters: span corruption (Raffel et al. 2020, arXiv:1910.10683).

    python train.py --config=configs/t5_large.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_large.py:data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 32 accelerators of 80 GB, computing in bfloat16.

Published, finetuned: GLUE test average 86.4 (table 14). Those models also saw labelled tasks while they were
pretrained; this is the unsupervised part. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5("t5_large", arguments, preset="large", devices=32, remat="full")
