"""T5-base's decoder alone, 110M parameters: the next token (Raffel et al. 2020, section 3.2, arXiv:1910.10683).

    python train.py --config=configs/t5_lm_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_lm_base.py:data=c4  # 524,288 steps of 128 rows, 3.4 * 10^10 tokens
    python train.py --config=configs/t5_lm_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Length and batch are those of the paper's comparisons; the vocabulary keeps its sentinels, which this objective does
not use.

Published, finetuned: GLUE 73.78, SQuAD 53.81 (table 2, language model).

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5_study("t5_lm_base", arguments, preset="lm_base", devices=1, microbatches=8)
