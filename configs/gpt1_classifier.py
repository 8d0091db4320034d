"""GPT as a classifier, 117M parameters, with the language model's loss beside (Radford et al. 2018, section 3.2).

    python train.py --config=configs/gpt1_classifier.py:tiny --config.init.checkpoint=runs/gpt1-tiny
    python train.py --config=configs/gpt1_classifier.py:tiny  # the same from scratch, to compare

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Rate, batch, epochs and the auxiliary loss's coefficient of 0.5 are the paper's; in the tiny run, rate and length are
those of a small model. The token that ends a text is what the classifier reads. The task is which of ten packages a
docstring belongs to.

Published: an average of 74.7 over its tasks, 59.9 without pretraining, 69.1 with an LSTM in place of the transformer
(table 5).
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt1_classifier("gpt1_classifier", arguments, devices=1)
