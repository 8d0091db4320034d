"""T5-base with one stack for encoder and decoder, 138M parameters: span corruption (Raffel et al. 2020, section 3.2,
arXiv:1910.10683).

    python train.py --config=configs/t5_shared_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_shared_base.py:data=c4  # 524,288 steps of 128 rows, 3.4 * 10^10 tokens
    python train.py --config=configs/t5_shared_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Length and batch are those of the paper's comparisons. There, table 2 hid tokens one by one and gave a sentinel to each
run of them; here spans have a mean of three tokens, as in the published T5.

Published, finetuned: GLUE 82.81, SQuAD 80.63 (table 2, shared encoder-decoder).

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5_study("t5_shared_base", arguments, preset="shared_base", devices=1, microbatches=8)
