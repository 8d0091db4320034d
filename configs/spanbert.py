"""SpanBERT, cased, base and large: masked spans, read from both ends (Joshi et al. 2020, arXiv:1907.10529).

    python train.py --config=configs/spanbert.py:tiny                           # minutes on two CPU cores
    python train.py --config=configs/spanbert.py:size=large,data=wikipedia      # 2,400,000 steps of 256 rows
    python train.py --config=configs/spanbert.py:data=wikipedia,boundary=false  # masked spans alone
    python train.py --config=configs/spanbert.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. Then the published F1,
finetuned, on SQuAD 1.1 and 2.0 in % (the authors' release): of base on dev, of large on test.

    size   parameters  accelerators  SQuAD-1.1  SQuAD-2.0
    base   110M        32            92.4       83.6
    large  337M        32            94.6       88.7

Decay is 0.01, as in the released command; the paper says 0.1. Those models also read BooksCorpus, which is no longer
distributed. Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size
model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.spanbert("spanbert", arguments)
