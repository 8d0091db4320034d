"""T5 1.1 small, 77M parameters: span corruption, gated feed-forward, no dropout (Shazeer 2020, arXiv:2002.05202).

    python train.py --config=configs/t5_v1_1_small.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_v1_1_small.py:data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_v1_1_small.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

There is no published figure for this size. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5("t5_v1_1_small", arguments, preset="v1_1_small", devices=1, microbatches=8, remat="full")
