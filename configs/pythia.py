"""Pythia from 70M to 6.9B: the next token (Biderman et al. 2023, arXiv:2304.01373).

    python train.py --config=configs/pythia.py:tiny                      # minutes on two CPU cores
    python train.py --config=configs/pythia.py:size=1.4b,data=jsonl:pile.jsonl
    python train.py --config=configs/pythia.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 70m if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all of
them. The last column is accuracy on LAMBADA without examples, in %: the authors' evaluations for 70m, table 3 of Gu
and Dao (2023, arXiv:2312.00752) for the others.

    size  parameters  accelerators  LAMBADA
    70m   70M         32            18.5
    160m  162M        32            33.0
    410m  405M        32            51.4
    1b    1.01B       64            56.1
    1.4b  1.41B       64            61.7
    2.8b  2.78B       64            64.7
    6.9b  6.86B       128           67.1

All sizes take 143,000 steps of 1,024 rows, 300 billion tokens in all. Rates are the paper's (table 1), the other
constants and the initializers those of the released configurations. The paper's models saw the same rows in the same
order; here too, the order of rows depends on `seed` alone.

They were trained on the Pile, which is no longer distributed; JSON lines of it are read as shown. Without `data` it
reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until
those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.pythia("pythia", arguments)
