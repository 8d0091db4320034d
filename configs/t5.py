"""T5 at its five sizes: span corruption (Raffel et al. 2020, arXiv:1910.10683).

    python train.py --config=configs/t5.py:tiny               # minutes on two CPU cores
    python train.py --config=configs/t5.py:size=base,data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, small if not given. One accelerator of 80 GB computes in float32, and with
--config.model.dtype=bfloat16 it is faster; more of them compute in bfloat16. Parameters of 3b and 11b are cut over all
of them; 11b also cuts heads, feed-forward and vocabulary over 8: on fewer than 8 add --config.mesh.tensor=1. The last
column is the published GLUE test average, finetuned (table 14).

    size   parameters  accelerators  GLUE
    small  61M         1             77.4
    base   223M        1             82.7
    large  738M        32            86.4
    3b     2.85B       128           88.5
    11b    11.3B       512           90.3

Those models also saw labelled tasks while they were pretrained; this is the unsupervised part. Without `data` it reads
pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those
few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5("t5", arguments)
