"""RoBERTa, base and large: masked tokens without pairs (Liu et al. 2019, arXiv:1907.11692).

    python train.py --config=configs/roberta.py:tiny                # minutes on two CPU cores
    python train.py --config=configs/roberta.py:size=large,data=c4  # 500,000 steps of 8,192 rows
    python train.py --config=configs/roberta.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. Then the published results,
finetuned: dev accuracy on MNLI and SST-2 in % (the authors' fairseq release).

    size   parameters  accelerators  MNLI  SST-2
    base   125M        64            87.6  94.8
    large  355M        128           90.2  96.4

Large has a GLUE test average of 88.5, SQuAD 1.1 dev EM/F1 88.9/94.6 (tables 5 and 6). Masks are drawn anew each time.
Rows are the paper's FULL-SENTENCES: as many whole sentences as fit in 512 tokens, across documents, with a separator
between two of them.

Those models read 160 GB: BooksCorpus and Wikipedia, CC-News, OpenWebText and Stories. Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.roberta("roberta", arguments)
