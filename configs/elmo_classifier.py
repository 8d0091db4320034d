"""A classifier on the frozen states of ELMo, 131M parameters (Peters et al. 2018, sections 3.2 and 3.3).

    python train.py --config=configs/elmo_classifier.py:tiny --config.init.checkpoint=runs/elmo-tiny
    python train.py --config=configs/elmo_classifier.py:tiny  # the same over random states, to compare

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

The layers of ELMo, mixed in learned proportions, are what an LSTM of both directions reads; the largest value of each
of its features goes to a linear classifier. The task is which of ten packages a docstring belongs to.

Published: accuracy 54.7% on SST-5 where the same classifier without ELMo has 51.4% (table 1).
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.elmo_classifier("elmo_classifier", arguments, devices=1)
