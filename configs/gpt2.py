"""GPT-2 at its four sizes: the next token (Radford et al. 2019).

    python train.py --config=configs/gpt2.py:tiny                      # minutes on two CPU cores
    python train.py --config=configs/gpt2.py:data=jsonl:openwebtext.jsonl
    python train.py --config=configs/gpt2.py:size=xl,data=jsonl:openwebtext.jsonl
    python train.py --config=configs/gpt2.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, small if not given. One accelerator of 80 GB computes in float32, and with
--config.model.dtype=bfloat16 it is faster; more of them compute in bfloat16, and xl's parameters are cut over all. Then
the published results, without finetuning: perplexity on WikiText-103 and accuracy on LAMBADA in % (table 3; words, not
our tokens), and the loss of the released model on OpenWebText (nanoGPT's README; 2.85 for small once finetuned on it).

    size    parameters  accelerators  WikiText-103  LAMBADA  OpenWebText
    small   124M        1             37.50         45.99    3.12
    medium  355M        8             26.37         55.48    2.84
    large   774M        16            22.05         60.12    2.67
    xl      1.56B       32            17.48         63.24    2.54

The paper does not give its learning rates, betas, weight decay or number of steps. The rates here are GPT-3's for
models of these sizes (Brown et al. 2020, table 2.1), the optimizer is GPT-3's, the 600,000 steps (315 billion tokens)
are those of nanoGPT's reproduction. WebText was not released; OpenWebText in JSON lines takes its place.

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt2("gpt2", arguments)
