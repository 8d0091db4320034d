"""XLNet, size base 117M, large 360M parameters: permutation language models (Yang et al. 2019, arXiv:1906.08237).

    python train.py --config=configs/xlnet.py:tiny                # minutes on two CPU cores
    python train.py --config=configs/xlnet.py:data=c4             # 500,000 steps of 8,192 rows
    python train.py --config=configs/xlnet.py:size=large,data=c4
    python train.py --config=configs/xlnet.py --config.train.batch_size=8 --config.data.sequence_length=128

    size    parameters   accelerators   tokens
    base          117M             64   2.097T
    large         360M            256   2.097T

Accelerators are meant to have 80 GB; they compute in bfloat16.

85 of 512 tokens are predicted. A row has half as many tokens more in front, which stand for the cached memory: they are
computed again in each step instead of being kept, and trained through. Rows are windows over the text that end with
[SEP] and [CLS]; the paper joins two stretches, the second of which is random half of the time, without learning which,
and feeds half of its rows backwards.

Published, finetuned, large: RACE accuracy 85.4%, SQuAD 2.0 dev EM/F1 87.9/90.6, MNLI 90.8% (tables 2, 3 and 5). Those
models read 33 billion pieces of BooksCorpus, Wikipedia, Giga5, ClueWeb and Common Crawl. Without `data` it reads
pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those
few million tokens are known by heart.
"""

from cloze.configs import base, families

TINY = dict(
    model=dict(families.TINY_MODEL, layers=3, activation_dropout=0.0, final_dropout=0.0),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=64),
    train=dict(families.TINY_RUN, steps=1500),
    optimizer=dict(learning_rate=1e-3, warmup_steps=100, decay_steps=1500),
    checkpoint=dict(every=500),
)
SIZES = {"base": dict(devices=64, microbatches=4), "large": dict(devices=256, microbatches=4)}


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = base.experiment("xlnet", arguments, size=tuple(SIZES))
    c.model.update(family="xlnet", preset=options["size"])
    c.objective.update(
        name="permutation_lm", mask_rate=85 / 512, memory_share=0.5, permutation_share=0.5, longest_ngram=5,
        ngram_context=6,
    )  # fmt: skip
    c.tokenizer.update(kind="unigram", vocab_size=32000, mask_token=True)
    c.data.update(sequence_length=512, packing="windows")
    c.train.update(batch_size=8192, steps=500_000)
    c.optimizer.update(
        name="adamw", learning_rate=4e-4, schedule="linear", warmup_steps=40_000, decay_steps=500_000, beta1=0.9,
        beta2=0.999, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    families.place(c, **SIZES[options["size"]])
    if options["tiny"]:
        families.shrink(c, TINY)
    return c
