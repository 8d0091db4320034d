"""The original Transformer, big, 214M parameters: continuing a text (Vaswani et al. 2017, arXiv:1706.03762).

    python train.py --config=configs/transformer_big.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/transformer_big.py:data=c4  # 300,000 steps of 96 rows
    python train.py --config=configs/transformer_big.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

As transformer_base, for three times as many steps; the peak rate is again that of the paper's formula, which is lower
for a wider model.

Published, for translation: BLEU 28.4 from English to German and 41.8 to French (table 2). Without `data` it reads
pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those
few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.transformer(
        "transformer_big", arguments, preset="big", learning_rate=4.94e-4, steps=300_000, devices=1, microbatches=4
    )
