"""Qwen2 0.5B, 1.5B and 7B: the next token (Yang et al. 2024, arXiv:2407.10671).

    python train.py --config=configs/qwen2.py:tiny               # minutes on two CPU cores
    python train.py --config=configs/qwen2.py:size=1.5b,data=c4
    python train.py --config=configs/qwen2.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 0.5b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all
of them. The last column is the published result, MMLU with five examples, in %.

    size  parameters  accelerators  tokens  MMLU
    0.5b  494M        32            12T     45.4
    1.5b  1.54B       64            7T      56.5
    7b    7.62B       128           7T      70.3

The paper gives these lengths and rows of 4,096 tokens, and prints no other hyperparameters of training: rate, batch
and schedule are those of Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2). Its last stage, on rows of
32,768 tokens, is left out; the slower rotations that it brought are there from the first step.

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.qwen2("qwen2", arguments)
