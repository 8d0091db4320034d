"""DeBERTa-large, 407M parameters: masked tokens, contents and distances apart (He et al. 2021, arXiv:2006.03654).

    python train.py --config=configs/deberta_large.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/deberta_large.py:data=c4  # 1,000,000 steps of 2,048 rows
    python train.py --config=configs/deberta_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 64 accelerators of 80 GB, computing in bfloat16.

Absolute positions come in with the enhanced mask decoder, two turns of the last layer. The paper also hid spans of up
to three tokens; here each token is drawn by itself.

Published, finetuned: dev accuracy 91.1/91.1% on MNLI, SQuAD 1.1 dev EM/F1 90.1/95.5. That model read 78 GB: Wikipedia,
BooksCorpus, OpenWebText and Stories. Without `data` it reads pydocs, documentation that every installation holds: a
smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.deberta("deberta_large", arguments, preset="large", devices=64, microbatches=8)
