"""GPT-2 medium, 355M parameters: the next token (Radford et al. 2019).

    python train.py --config=configs/gpt2_medium.py:tiny                      # minutes on two CPU cores
    python train.py --config=configs/gpt2_medium.py:data=jsonl:openwebtext.jsonl
    python train.py --config=configs/gpt2_medium.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 8 accelerators of 80 GB, computing in bfloat16.

The paper does not give its learning rates, betas, weight decay or number of steps. The rate here, 3e-4, is GPT-3's
for a model of this size (Brown et al. 2020, table 2.1), the optimizer GPT-3's, the 600,000 steps (315 billion tokens)
those of nanoGPT's reproduction. WebText was not released; OpenWebText in JSON lines takes its place.

Published, without finetuning: perplexity 26.37 on WikiText-103, accuracy 55.48% on LAMBADA (table 3; words, not our
tokens). On OpenWebText the released model has a loss of 2.84 (nanoGPT's README). Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt2("gpt2_medium", arguments, preset="medium", learning_rate=3e-4, devices=8, microbatches=8)
