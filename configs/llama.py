"""Llama 1, 2, 3, 3.1 and 3.2: the next token (Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Dubey et al.
2024, arXiv:2407.21783).

    python train.py --config=configs/llama.py:tiny                       # minutes on two CPU cores
    python train.py --config=configs/llama.py:size=2_7b,data=c4
    python train.py --config=configs/llama.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 1_7b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all
of them; 65b, 70b and 405b also cut heads, feed-forward and vocabulary over 8: on fewer than 8 add
--config.mesh.tensor=1. The last column is the published result, MMLU with five examples, in %.

    size       parameters  accelerators  tokens  MMLU
    1_7b       6.74B       128           1T      35.1
    1_13b      13B         256           1T      46.9
    1_33b      32.5B       512           1.4T    57.8
    1_65b      65.3B       1,024         1.4T    63.4
    2_7b       6.74B       128           2T      45.3
    2_13b      13B         256           2T      54.8
    2_70b      69B         1,024         2T      68.9
    3_8b       8.03B       128           15T     66.6
    3_70b      70.6B       1,024         15T     79.5
    3.1_8b     8.03B       128           15T     66.7
    3.1_70b    70.6B       1,024         15T     79.3
    3.1_405b   406B        8,192         15.6T   85.2
    3.2_1b     1.24B       64            9T      32.2
    3.2_3b     3.21B       64            9T      58.0

Rates and lengths are those of each paper or model card. What a paper does not print is taken from Llama 2's: the
epsilon of Llama 1, the other constants of the optimizer of Llama 3, the 4M tokens a step of all but 405B; warm-up and
the end of the schedule of all of 3, 3.1 and 3.2 are those of 405B. Not as published: 405B has its 16M tokens a step
from the first one (there they grew from 4M); the last stage, on rows of up to 131,072 tokens, is left out; 3.2 was
pruned from 3.1's 8B and learned from its answers, here it starts from nothing.

The data were not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.llama("llama", arguments)
