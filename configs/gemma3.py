"""Gemma 3 270M, 1B and 4B without vision: the next token (Kamath et al. 2025, arXiv:2503.19786).

    python train.py --config=configs/gemma3.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/gemma3.py:size=1b,data=c4
    python train.py --config=configs/gemma3.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, 270m if not given. Accelerators are of 80 GB and compute in bfloat16, parameters cut over all of
them; heads of 4b are cut over four, and it takes fewer devices with --config.mesh.tensor=1. The last column is the
published result, HellaSwag with ten examples, in % (of the model card).

    size  parameters  accelerators  tokens  HellaSwag
    270m  268M        128           6T      40.9
    1b    1000M       128           2T      62.3
    4b    3.88B       256           4T      77.2

The report gives these lengths and rows of 32,768 tokens, and prints no other hyperparameters of training: rate, batch
and schedule are those of Llama 2 7B (Touvron et al. 2023, arXiv:2307.09288, section 2.2). All learned from the answers
of a larger model; here they learn from the text. Left out is the last stage of 4b, on longer rows; the slower
rotations that it brought are there from the first step. `tiny` has two local layers, which see 32 tokens, and a global
one.

The data was not released. Without `data` it reads pydocs, documentation that every installation holds: a smoke test
of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gemma3("gemma3", arguments)
