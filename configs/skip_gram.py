"""Skip-gram vectors of words with negative sampling, 60M parameters (Mikolov et al. 2013, arXiv:1310.4546).

    python train.py --config=configs/skip_gram.py:tiny       # minutes on two CPU cores
    python train.py --config=configs/skip_gram.py:data=lm1b  # 1 epoch of 32 rows of 512 words

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Windows of up to 5 words, 5 noise words a pair, frequent words left out with t = 1e-5 (1e-3 in the tiny run), as there;
100,000 words instead of 692,000, and Adam over batches in place of gradient descent over single pairs.

The loss is that of a pair with its noise: 6 ln 2 = 4.16 at the start. Published: 60% of 19,544 analogies (table 1).
Without `data` it reads pydocs, documentation that every installation holds.
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.skip_gram("skip_gram", arguments, devices=1)
