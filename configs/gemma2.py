"""Gemma 2 2B, 9B and 27B: the next token (Riviere et al. 2024, arXiv:2408.00118).

    python train.py --config=configs/gemma2.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/gemma2.py:size=9b,data=c4
    python train.py --config=configs/gemma2.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 2b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all of
them. The last column is the published result, MMLU with five examples, in % (of the model card).

    size  parameters  accelerators  tokens  MMLU
    2b    2.61B       64            2T      51.3
    9b    9.24B       128           8T      71.3
    27b   27.2B       512           13T     75.2

The paper gives these lengths and rows of 8,192 tokens, and prints no other hyperparameters of training: rate, batch
and schedule are those of Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2). 2B and 9B learned from the
answers of a larger model; here they learn from the text. The window of `tiny` is 32 tokens, a quarter of its rows.

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gemma2("gemma2", arguments)
