"""T5-base, 223M parameters: span corruption (Raffel et al. 2020, arXiv:1910.10683).

    python train.py --config=configs/t5_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_base.py:data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Published, finetuned: GLUE test average 82.7 (table 14). Those models also saw labelled tasks while they were
pretrained; this is the unsupervised part. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5("t5_base", arguments, preset="base", devices=1, microbatches=8, remat="full")
