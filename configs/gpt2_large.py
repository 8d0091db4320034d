"""GPT-2 large, 774M parameters: the next token (Radford et al. 2019).

    python train.py --config=configs/gpt2_large.py:tiny                      # minutes on two CPU cores
    python train.py --config=configs/gpt2_large.py:data=jsonl:openwebtext.jsonl
    python train.py --config=configs/gpt2_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 16 accelerators of 80 GB, computing in bfloat16.

The paper does not give its learning rates, betas, weight decay or number of steps. The rate here, 2.5e-4, is GPT-3's
for a model of this size (Brown et al. 2020, table 2.1), the optimizer GPT-3's, the 600,000 steps (315 billion tokens)
those of nanoGPT's reproduction. WebText was not released; OpenWebText in JSON lines takes its place.

Published, without finetuning: perplexity 22.05 on WikiText-103, accuracy 60.12% on LAMBADA (table 3; words, not our
tokens). On OpenWebText the released model has a loss of 2.67 (nanoGPT's README). Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt2("gpt2_large", arguments, preset="large", learning_rate=2.5e-4, devices=16, remat="full")
