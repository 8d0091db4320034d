"""The original Transformer, base and big: continuing a text (Vaswani et al. 2017, arXiv:1706.03762).

    python train.py --config=configs/transformer.py:tiny              # minutes on two CPU cores
    python train.py --config=configs/transformer.py:size=big,data=c4  # 300,000 steps of 96 rows; base: 100,000
    python train.py --config=configs/transformer.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or big. One accelerator of 80 GB computes in float32, and with
--config.model.dtype=bfloat16 it is faster; more of them share the batch. Then the published results, for translation:
BLEU from English to German and to French (table 2).

    size  parameters  accelerators  German  French
    base  63M         1             27.3    38.1
    big   214M        1             28.4    41.8

The paper translates. No parallel text comes with this project: the encoder reads the beginning of a text, cut at a
random place, and the decoder predicts the rest. Model, label smoothing, Adam's constants and the number of steps are
the paper's, batches are of 25,000 tokens. Not as published: after warm-up the rate falls linearly, there as
1 / sqrt(step); its peaks are those of the paper's formula, lower for the wider model.

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.transformer("transformer", arguments)
