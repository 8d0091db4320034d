"""ELMo's language model of both directions, 127M parameters (Peters et al. 2018, arXiv:1802.05365).

    python train.py --config=configs/elmo.py:tiny       # minutes on two CPU cores
    python train.py --config=configs/elmo.py:data=lm1b  # 10 epochs of 384 rows of 64 words

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Two layers in each direction, 4,096 cells projected to 512, a residual around the second. Three things differ from the
paper: words have a table of vectors where it composes them from characters; the vocabulary is 100,000 words with a full
softmax, not 793,471 with a sampled one; Adam takes the place of AdaGrad.

Published: perplexity 39.7 on the 1 Billion Word benchmark, the mean of both directions (section 3.4), not comparable
across vocabularies. Without `data` it reads pydocs, documentation that every installation holds.
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.elmo("elmo", arguments, devices=1)
