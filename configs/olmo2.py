"""OLMo 2 1B, 7B and 13B: the next token, first stage (OLMo team 2024, arXiv:2501.00656).

    python train.py --config=configs/olmo2.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/olmo2.py:size=7b,data=c4
    python train.py --config=configs/olmo2.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 1b if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all of
them. The last column is the published result, MMLU with five examples, in %, of the final models.

    size  parameters  accelerators  tokens  MMLU
    1b    1.48B       64            4T      44.3
    7b    7.3B        128           3.9T    63.7
    13b   13.7B       256           5T      67.5

Rates, batches and schedule are the published ones: rows of 4,096 tokens, a cosine over 5T tokens that 1B and 7B leave
early, z-loss 1e-5, weight decay on all but the embeddings. Left out are the second stage, in which the rate falls to 0
on selected data, and the average of its runs.

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.olmo2("olmo2", arguments)
