"""BART, base and large: a noised text read back whole (Lewis et al. 2020, arXiv:1910.13461).

    python train.py --config=configs/bart.py:tiny                # minutes on two CPU cores
    python train.py --config=configs/bart.py:size=large,data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/bart.py:noise=rotate,tiny
    python train.py --config=configs/bart.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. Then the published results,
finetuned: dev F1 on SQuAD 1.1, accuracy on MNLI in %, ROUGE-L on CNN/DailyMail and on XSum. Those of base are of
infilling and permuting after a million steps of 256 rows of books and Wikipedia (table 1); large read 160 GB of news,
books, stories and web text (tables 2 and 3).

    size   parameters  accelerators  SQuAD  MNLI  CNN/DM  XSum
    base   139M        64            90.8   83.8  -       -
    large  406M        128           94.6   89.9  40.90   37.25

`noise` is infill+permute, the published mixture and the default (section 5.1: spans of 30% of the words become one mask
each, all sentences change places), or one of the paper's comparisons alone: mask, delete, infill, permute, rotate. The
rates of mask and delete are our choice, 15%; rotate turns every row.

The paper gives the noise, the batch, the steps and the size of large, and no rate: rates and warm-up are RoBERTa's of
the same size; base takes the rest from large. Not as published: dropout stays on in the last tenth of training. Rows
are windows of 512 tokens, whose first and last sentences may be parts of one.

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.bart("bart", arguments)
