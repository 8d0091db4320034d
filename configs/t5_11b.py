"""T5-11B, 11.3B parameters: span corruption (Raffel et al. 2020, arXiv:1910.10683).

    python train.py --config=configs/t5_11b.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_11b.py:data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_11b.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 512 accelerators of 80 GB, computing in bfloat16, parameters cut over groups of 64 and heads, feed-forward
and vocabulary over 8 in each; on fewer than 8 add --config.mesh.tensor=1.

Published, finetuned: GLUE test average 90.3 (table 14). Those models also saw labelled tasks while they were
pretrained; this is the unsupervised part. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5("t5_11b", arguments, preset="11b", devices=512, remat="full", fsdp=True, tensor=8)
