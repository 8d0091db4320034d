"""BERT-base, uncased, 110M parameters: masked tokens and next sentences (Devlin et al. 2019, arXiv:1810.04805).

    python train.py --config=configs/bert_base.py:tiny                       # minutes on two CPU cores
    python train.py --config=configs/bert_base.py:data=wikipedia             # steps 1 to 900,000, rows of 128 tokens
    python train.py --config=configs/bert_base.py:data=wikipedia,length=512  # the last 100,000 steps

Ablations change the pretraining task, and go with `tiny`, `data` and `length`:

    python train.py --config=configs/bert_base.py:masking=whole_words           # or ngrams, spans
    python train.py --config=configs/bert_base.py:pairs=none                    # full sentences, as RoBERTa reads them
    python train.py --config=configs/bert_base.py:pairs=none,static=10          # ten masks of a row, not ever new ones
    python train.py --config=configs/bert_base.py:pairs=none,masking=entities   # names, dates and numbers (REALM)
    python train.py --config=configs/bert_base.py:pairs=sentence_order          # ALBERT's

The large model, and the base one under another name, are configs/bert.py.

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

The second phase goes on from the first: before its command, copy checkpoints/ and tokenizer/ from the first run's
workdir into its own (by default runs/bert_base-data=wikipedia to runs/bert_base-data=wikipedia-length=512). Without
them it trains all 1,000,000 steps on rows of 512 tokens. `tiny` keeps the phases: 1,800 steps on rows of 64 tokens,
200 on 256.

Published, finetuned: GLUE test average 79.6, SQuAD 1.1 dev EM/F1 80.8/88.5 (tables 1 and 2). That model also read
BooksCorpus, which is no longer distributed. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.bert("bert_base", arguments, sizes=("base",))
