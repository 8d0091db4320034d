"""GPT-3 at its eight sizes, 125M to 175B parameters: the next token (Brown et al. 2020, arXiv:2005.14165).

    python train.py --config=configs/gpt3.py:tiny                             # minutes on two CPU cores
    python train.py --config=configs/gpt3.py:size=1.3b,data=c4
    python train.py --config=configs/gpt3.py:size=1.3b,data=c4,sparse
    python train.py --config=configs/gpt3.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is 125m (the default), 350m, 760m, 1.3b, 2.7b, 6.7b, 13b or 175b. They are meant for 8, 8, 16, 32, 64, 128, 256
and 1,024 accelerators of 80 GB, computing in bfloat16; from 760m on, parameters are cut over all of them. 175b cuts
them over groups of 128, and heads, feed-forward and vocabulary over 8 in each; on fewer than 8 add
--config.mesh.tensor=1.

Every second layer of the original attends in a local band only. The paper does not print its width: all layers are
dense here, and `sparse` puts a band of 256 tokens (32 in `tiny`), our choice, into every second one.

Rates and batches are those of table 2.1; warm-up, decay and length are given in tokens and hold for any batch. Not as
published: the batch has its full size from the first step (there it grew from 32,000 tokens), and 175b's is 3.15M
tokens instead of 3.2M, so that it divides.

Published, zero-shot: accuracy 42.7, 54.3, 60.4, 63.6, 67.1, 70.3, 72.5 and 76.2% on LAMBADA (table H.1), from
filtered Common Crawl, WebText2, two sets of books and Wikipedia, none of them released. Without `data` it reads
pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those
few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt3("gpt3", arguments)
