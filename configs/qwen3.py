"""Qwen3 0.6B, 1.7B, 4B and 8B: the next token (Yang et al. 2025, arXiv:2505.09388).

    python train.py --config=configs/qwen3.py:tiny               # minutes on two CPU cores
    python train.py --config=configs/qwen3.py:size=1.7b,data=c4
    python train.py --config=configs/qwen3.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 0.6b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all
of them. The last column is the published result, MMLU with five examples, in % (tables 6 to 8).

    size  parameters  accelerators  tokens  MMLU
    0.6b  596M        32            36T     52.8
    1.7b  1.72B       64            36T     62.6
    4b    4.02B       128           36T     73.0
    8b    8.19B       128           36T     76.9

The paper gives this length and rows of 4,096 tokens, and prints no other hyperparameters of training: rate, batch and
schedule are those of Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2). Its last stage, on rows of
32,768 tokens, is left out; the slower rotations that it brought are there from the first step.

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.qwen3("qwen3", arguments)
