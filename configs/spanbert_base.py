"""SpanBERT-base, cased, 110M parameters: masked spans, read from both ends (Joshi et al. 2020, arXiv:1907.10529).

    python train.py --config=configs/spanbert_base.py:tiny                           # minutes on two CPU cores
    python train.py --config=configs/spanbert_base.py:data=wikipedia                 # 2,400,000 steps of 256 rows
    python train.py --config=configs/spanbert_base.py:data=wikipedia,boundary=false  # masked spans alone
    python train.py --config=configs/spanbert_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 32 accelerators of 80 GB, computing in bfloat16.

Decay is 0.01, as in the released command; the paper says 0.1.

Published, finetuned: dev F1 92.4% on SQuAD 1.1, 83.6% on SQuAD 2.0 (the authors' release). That model also read
BooksCorpus, which is no longer distributed. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.spanbert("spanbert_base", arguments, preset="base", devices=32)
