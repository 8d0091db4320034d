"""UL2 at the size of T5 1.1 base, 248M parameters: a mixture of denoisers (Tay et al. 2022, arXiv:2205.05131).

    python train.py --config=configs/ul2.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/ul2.py:data=c4  # 500,000 steps of 128 rows, 3.3 * 10^10 tokens
    python train.py --config=configs/ul2.py:tiny,architecture=decoder
    python train.py --config=configs/ul2.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Each row is hidden in one of seven ways, drawn with equal chances: short or long spans of 15% (mode R), a quarter of the
row to be continued (S), many or long spans of up to half of it (X). A token in front says which mode it is; the paper's
three are the last three sentinels here. `architecture` is encoder_decoder (the default) or decoder, a prefix language
model. Feed-forwards are gated with SiLU, as in the paper; its 20B model is 32 layers a side, 4,096 wide.

The paper compares objectives with a batch of 128 rows for 500,000 steps (section 4) and does not print the rate: it
is T5's. What it publishes of this size are relative gains over many tasks; of 20B, that it is better than GPT-3 with
175B on SuperGLUE without examples. Without `data` it reads pydocs, documentation
that every installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are
known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.ul2("ul2", arguments, devices=1, microbatches=8)
