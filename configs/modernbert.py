"""ModernBERT, base and large: masked tokens in packed documents (Warner et al. 2024, arXiv:2412.13663).

    python train.py --config=configs/modernbert.py:tiny                 # minutes on two CPU cores
    python train.py --config=configs/modernbert.py:size=large,data=c4
    python train.py --config=configs/modernbert.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. The last column is the
published result, finetuned: the average of GLUE's development sets (table 1).

    size   parameters  accelerators  tokens  GLUE
    base   150M        64            1.719T  88.4
    large  396M        64            1.7T    90.4

This is the first stage, on rows of 1,024 tokens, in which all rotations have a base of 10,000. Whole documents lie side
by side in a row and do not see each other: nothing is padded but the ends. Of the hidden 30%, 80% are [MASK], 10% other
tokens and 10% themselves, as in the authors' code (AnswerDotAI/ModernBERT), from which the optimizer's constants are.

Not as published: the batch has its full size from the first step (there it grew over 50 billion tokens, for large 10);
large starts from nothing, not from tiles of base, and keeps its rate (there it went on at 5e-5 after 900 billion
tokens); attention drops nothing out (there 10% of its output). The second stage is left out: 250 billion tokens in rows
of 8,192, with a base of 160,000 in global layers, as the presets have it, and 50 billion for the decay, which here ends
the first.

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test of
the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.modernbert("modernbert", arguments)
