"""BERT, uncased, base and large: masked tokens and next sentences (Devlin et al. 2019, arXiv:1810.04805).

    python train.py --config=configs/bert.py:tiny                                  # minutes on two CPU cores
    python train.py --config=configs/bert.py:size=large,data=wikipedia             # steps 1 to 900,000, rows of 128
    python train.py --config=configs/bert.py:size=large,data=wikipedia,length=512  # the last 100,000 steps

`size` is base, which configs/bert_base.py also is, or large. One accelerator of 80 GB computes in float32, and with
--config.model.dtype=bfloat16 it is faster; more of them compute in bfloat16. Then the published results, finetuned:
GLUE test average, SQuAD 1.1 dev EM/F1 (tables 1 and 2).

    size   parameters  accelerators  GLUE  SQuAD
    base   110M        1             79.6  80.8/88.5
    large  336M        8             82.1  84.1/90.9

The arguments of configs/bert_base.py are these configs' too, and what it says of the two phases and of the data holds
for both.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.bert("bert", arguments)
