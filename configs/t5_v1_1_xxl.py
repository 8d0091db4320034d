"""T5 1.1 XXL, 11.1B parameters: span corruption, gated feed-forward, no dropout (Shazeer 2020, arXiv:2002.05202).

    python train.py --config=configs/t5_v1_1_xxl.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_v1_1_xxl.py:data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_v1_1_xxl.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 512 accelerators of 80 GB, computing in bfloat16, parameters cut over groups of 64 and heads, feed-forward
and vocabulary over 8 in each; on fewer than 8 add --config.mesh.tensor=1.

Published, pretrained like this and finetuned: closed-book Natural Questions, exact match 32.8 (Roberts et al. 2020,
arXiv:2002.08910). Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the
full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5(
        "t5_v1_1_xxl", arguments, preset="v1_1_xxl", devices=512, remat="full", fsdp=True, tensor=8
    )
