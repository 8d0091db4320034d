"""ELECTRA small, base and large: replaced token detection (Clark et al. 2020, arXiv:2003.10555).

    python train.py --config=configs/electra.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/electra.py:size=base,data=wikipedia
    python train.py --config=configs/electra.py:tiny,task=replace_mlm
    python train.py --config=configs/electra.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, small if not given; parameters are those of generator and discriminator together, what both
share counted once. Accelerators are of 80 GB, and more than one compute in bfloat16. The last column is the published
result, the average of GLUE's dev sets, in % (tables 1 and 2; large is ELECTRA-400K).

    size   parameters  accelerators  tokens     GLUE
    small  14M         1             0.016384T  79.9
    base   119M        8             0.1004T    85.1
    large  355M        64            0.41943T   89.0

The paper's comparisons: `task` is detect, detect_hidden ("ELECTRA 15%", GLUE 82.4 at size base), replace_mlm ("Replace
MLM", 82.4) or all_tokens_mlm ("All-Tokens MLM", 84.3), section 3.4 and table 5; `tie` is embeddings, all (which makes
the generator as large as the discriminator) or none, section 3.2. --config.objective.generator_width is the size of
the generator as a share of the discriminator's.

A trivial discriminator says "original" everywhere, and its loss, rtd, is the entropy of `replaced`, the share of tokens
that are. generate.py fills blanks with the generator, whatever the task; convert.py writes the discriminator.

The reference draws the hidden places with replacement, so that a few coincide; here their number is exact. Two sizes
read Wikipedia and BooksCorpus, large XLNet's 33B tokens. Without `data` it reads pydocs, documentation that every
installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by
heart.
"""

from cloze.configs import composites


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return composites.electra("electra", arguments)
