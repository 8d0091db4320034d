"""LSTM classifier, 111M parameters: from scratch, from word vectors or from a language model (Dai and Le 2015).

    python train.py --config=configs/lstm_classifier.py:tiny                # minutes on two CPU cores
    python train.py --config=configs/lstm_classifier.py:tiny,vectors=tuned  # the vectors of words train, too
    python train.py --config=configs/lstm_classifier.py:tiny --config.init.checkpoint=runs/glove-tiny
    python train.py --config=configs/lstm_classifier.py:tiny,vectors=tuned --config.init.checkpoint=runs/lstm_lm-tiny

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Vectors are frozen unless they are tuned, so give them a start from glove, skip_gram or lstm_lm; the last also gives the
LSTM. Vectors of the full glove and skip_gram need --config.model.embedding_width=300 and tune or freeze alike. The
task is which of ten packages a docstring belongs to.

Published, on IMDB reviews: 13.5% errors from scratch, 10.0% from word2vec's vectors, 7.64% from a language model
(table 2).
"""

from cloze.configs import baselines


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return baselines.lstm_classifier("lstm_classifier", arguments, devices=1)
