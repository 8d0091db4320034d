"""The original Transformer, base, 63M parameters: continuing a text (Vaswani et al. 2017, arXiv:1706.03762).

    python train.py --config=configs/transformer_base.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/transformer_base.py:data=c4  # 100,000 steps of 96 rows
    python train.py --config=configs/transformer_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

The paper translates. No parallel text comes with this project: the encoder reads the beginning of a text, cut at a
random place, and the decoder predicts the rest. Model, label smoothing, Adam's constants and the number of steps are
the paper's, batches are of 25,000 tokens. Not as published: after warm-up the rate falls linearly, there as
1 / sqrt(step); its peak, 7e-4, is that of the paper's formula.

Published, for translation: BLEU 27.3 from English to German and 38.1 to French (table 2). Without `data` it reads
pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those
few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.transformer(
        "transformer_base", arguments, preset="base", learning_rate=7e-4, steps=100_000, devices=1, microbatches=2
    )
