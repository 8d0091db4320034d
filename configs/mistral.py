"""Mistral 7B, 7.24B parameters: the next token, seeing 4,096 back (Jiang et al. 2023, arXiv:2310.06825).

    python train.py --config=configs/mistral.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/mistral.py:data=c4  # 2 * 10^12 tokens
    python train.py --config=configs/mistral.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 128 accelerators of 80 GB, computing in bfloat16, parameters cut over all of them. The window of `tiny` is 32
tokens, a quarter of its rows.

The paper prints no hyperparameters of training, not even its length: rate, batch, schedule and tokens are those of
Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2). Rows are as long as the paper's context, 8,192 tokens.

Published: MMLU with five examples 60.1% (table 2), on data that was not released. Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.mistral("mistral", arguments, devices=128, microbatches=4)
