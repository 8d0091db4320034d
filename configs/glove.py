"""GloVe vectors of words, 60M parameters: least squares over co-occurrences (Pennington et al. 2014, EMNLP).

    python train.py --config=configs/glove.py:tiny       # minutes on two CPU cores
    python train.py --config=configs/glove.py:data=lm1b  # 300,000 steps of 65,536 pairs

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Pairs up to 10 words apart count 1/distance, symmetric, never across documents; they are counted once and kept in the
cache. Weights (count / 100) ** 0.75, AdaGrad at 0.05, as there, over batches of pairs. A row is `data.sequence_length`
pairs. The published vectors are the sum of the two tables; classifiers here take the first.

Published: 71.7% of analogies with 6 billion words (table 2). Without `data` it reads pydocs, documentation that every
installation holds.
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.glove("glove", arguments, devices=1)
