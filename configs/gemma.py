"""Gemma 2B and 7B: the next token (Mesnard et al. 2024, arXiv:2403.08295).

    python train.py --config=configs/gemma.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/gemma.py:size=7b,data=c4
    python train.py --config=configs/gemma.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 2b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all of
them. The last column is the published result, MMLU with five examples, in % (table 6).

    size  parameters  accelerators  tokens  MMLU
    2b    2.51B       64            3T      42.3
    7b    8.54B       128           6T      64.3

The paper gives these lengths and prints no other hyperparameters of training: rate, batch and schedule are those of
Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2).

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gemma("gemma", arguments)
