"""FlauBERT-base, cased, 138M parameters: masked tokens, in French (Le et al. 2020, arXiv:1912.05372).

    python train.py --config=configs/flaubert.py:tiny                             # minutes on two CPU cores
    python train.py --config=configs/flaubert.py:data=tfds:wikipedia/20230601.fr  # 500,000 steps of 8,192 rows
    python train.py --config=configs/flaubert.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 64 accelerators of 80 GB, computing in bfloat16.

Rate, warm-up and the rest of the optimizer are the authors'. Their launch line names no last step and lets the rate
fall with the root of the step: length and linear fall are RoBERTa's, which they follow. Pieces are cased WordPiece, as
many as their BPE has, which works on text that Moses cut into words.

Published, finetuned: XNLI in French 80.6%. That model read 71 GB of French from 24 corpora, of which Wikipedia is one.
Without `data` it reads pydocs, documentation that every installation holds, in English: a smoke test of the full-size
model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.flaubert("flaubert", arguments, preset="base_cased", devices=64, microbatches=4)
