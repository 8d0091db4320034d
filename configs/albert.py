"""ALBERT, 12M to 223M parameters: masked n-grams and the order of sentences (Lan et al. 2020, arXiv:1909.11942).

    python train.py --config=configs/albert.py:tiny                       # minutes on two CPU cores
    python train.py --config=configs/albert.py:data=wikipedia             # 125,000 steps of 4,096 rows
    python train.py --config=configs/albert.py:size=large,data=wikipedia
    python train.py --config=configs/albert.py --config.train.batch_size=8 --config.data.sequence_length=128

    size       parameters   accelerators     tokens
    base              12M             16   0.26214T
    large             18M             32   0.26214T
    xlarge            59M             64   0.26214T
    xxlarge          223M            128   0.26214T

Accelerators are meant to have 80 GB; they compute in bfloat16.

The models are version 2, without dropout.

Published, finetuned, version 1 after 125,000 steps (xxlarge: 1,500,000): MNLI accuracy 81.6%, 83.5%, 86.4% and 90.8%,
SQuAD 1.1 dev EM/F1 82.3/89.3, 83.9/90.6, 86.1/92.5 and 89.3/94.8 (the authors' release). Those models also read
BooksCorpus, which is no longer distributed. Without `data` they read pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.albert("albert", arguments)
