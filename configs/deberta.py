"""DeBERTa, base and large: masked tokens, contents and distances apart (He et al. 2021, arXiv:2006.03654).

    python train.py --config=configs/deberta.py:tiny                # minutes on two CPU cores
    python train.py --config=configs/deberta.py:size=large,data=c4  # 1,000,000 steps of 2,048 rows
    python train.py --config=configs/deberta.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. Then the published results,
finetuned: dev accuracy on MNLI in %, matched and mismatched, and dev EM and F1 on SQuAD 1.1.

    size   parameters  accelerators  MNLI       SQuAD
    base   140M        32            88.8/88.5  87.2/93.1
    large  407M        64            91.1/91.1  90.1/95.5

Absolute positions come in with the enhanced mask decoder, two turns of the last layer. The paper also hid spans of up
to three tokens; here each token is drawn by itself.

Those models read 78 GB: Wikipedia, BooksCorpus, OpenWebText and Stories. Without `data` it reads pydocs, documentation
that every installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are
known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.deberta("deberta", arguments)
