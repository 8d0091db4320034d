"""BERT-large, uncased, 336M parameters: masked tokens and next sentences (Devlin et al. 2019, arXiv:1810.04805).

    python train.py --config=configs/bert_large.py:tiny                       # minutes on two CPU cores
    python train.py --config=configs/bert_large.py:data=wikipedia             # steps 1 to 900,000, rows of 128 tokens
    python train.py --config=configs/bert_large.py:data=wikipedia,length=512  # the last 100,000 steps

Meant for 8 accelerators of 80 GB, computing in bfloat16.

The second phase goes on from the first: before its command, copy checkpoints/ and tokenizer/ from the first run's
workdir into its own (by default runs/bert_large-data=wikipedia to runs/bert_large-data=wikipedia-length=512). Without
them it trains all 1,000,000 steps on rows of 512 tokens. `tiny` keeps the phases: 1,800 steps on rows of 64 tokens,
200 on 256.

Published, finetuned: GLUE test average 82.1, SQuAD 1.1 dev EM/F1 84.1/90.9 (tables 1 and 2). That model also read
BooksCorpus, which is no longer distributed. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.bert("bert_large", arguments, preset="large", devices=8, microbatches={128: 1, 512: 2})
