"""T5 1.1 at its five sizes: span corruption, gated feed-forward, no dropout (Shazeer 2020, arXiv:2002.05202).

    python train.py --config=configs/t5_v1_1.py:tiny               # minutes on two CPU cores
    python train.py --config=configs/t5_v1_1.py:size=base,data=c4  # 1,000,000 steps of 2,048 rows, 10^12 tokens
    python train.py --config=configs/t5_v1_1.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, small if not given. One accelerator of 80 GB computes in float32, and with
--config.model.dtype=bfloat16 it is faster; more of them compute in bfloat16. Parameters of xl and xxl are cut over all
of them; xxl also cuts heads, feed-forward and vocabulary over 8: on fewer than 8 add --config.mesh.tensor=1. The last
column is the published result, pretrained like this and finetuned: closed-book Natural Questions, exact match in %
(Roberts et al. 2020, arXiv:2002.08910).

    size   parameters  accelerators  NQ
    small  77M         1             -
    base   248M        1             25.7
    large  783M        32            27.3
    xl     2.85B       128           29.5
    xxl    11.1B       512           32.8

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5_v1_1("t5_v1_1", arguments)
