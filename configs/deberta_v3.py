"""DeBERTa v3, four sizes: replaced token detection with disentangled embeddings (He et al. 2023, arXiv:2111.09543).

    python train.py --config=configs/deberta_v3.py:tiny              # minutes on two CPU cores
    python train.py --config=configs/deberta_v3.py:size=small,data=c4
    python train.py --config=configs/deberta_v3.py:tiny,tie=embeddings
    python train.py --config=configs/deberta_v3.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, base if not given; parameters are those of generator and discriminator together. Accelerators
are of 80 GB and compute in bfloat16. The last column is the published result, accuracy on the matched dev set of MNLI,
in % (the paper's table 3 and the authors' releases).

    size    parameters  accelerators  tokens   MNLI
    xsmall  131M        32            2.0972T  88.1
    small   263M        32            2.0972T  88.2
    base    326M        64            2.0972T  90.6
    large   719M        128           2.0972T  91.8

The generator is as wide as the discriminator and half as deep. `tie` says how both share the embeddings of tokens:
disentangled (the discriminator reads the generator's, without a gradient to them, plus a difference that begins at
zero), embeddings (ELECTRA's way) or none (section 3.2). What is hidden, and how the loss reads, is in
configs/electra.py.

It read 160 GB, as RoBERTa. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import composites


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return composites.deberta_v3("deberta_v3", arguments)
