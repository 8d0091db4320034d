"""GPT-BERT, base: causal and masked language modelling in one decoder (Charpentier and Samuel 2024, arXiv:2410.24159).

    python train.py --config=configs/gpt_bert.py:tiny             # minutes on two CPU cores
    python train.py --config=configs/gpt_bert.py:data=c4          # 15,625 steps of 32,768 rows
    python train.py --config=configs/gpt_bert.py --config.objective.causal_share=0.5
    python train.py --config=configs/gpt_bert.py --config.train.batch_size=8

112M parameters, meant for 64 accelerators of 80 GB, which compute in bfloat16. One row of sixteen is read from left to
right, the others in both directions, with 15% of their tokens hidden, each of which is predicted from the place before.

The model is GPT-2's decoder with rotary positions and a gated feed-forward; the paper's is LTG-BERT with gates in its
attention and learned weights of earlier layers. Its runs hide 30% at first and 15% at the end, up to three neighbouring
tokens together (here n-grams of whole words), and begin with more rows of fewer tokens: 128, later 512. The rates are
the defaults of the released code.

Published: the best text model of the BabyLM challenge 2024, on 100 million words (Hu et al. 2024, arXiv:2412.05149).
Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import base, families

TINY = dict(
    model=dict(families.TINY_MODEL, layers=3, ffn=512),
    tokenizer=dict(vocab_size=4096),
    data=dict(sequence_length=128),
    train=dict(families.TINY_RUN, steps=700),
    optimizer=dict(learning_rate=5e-3, warmup_steps=40, decay_steps=700),
    checkpoint=dict(every=500),
)


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = base.experiment("gpt_bert", arguments)
    c.model.update(
        family="gpt2", preset="small", vocab_size=16384, ffn=2560, gated=True, activation="gelu", positions="rotary",
        max_positions=0,
    )  # fmt: skip
    c.objective.update(
        name="masked_next_token", causal_share=1 / 16, masking="ngrams", longest_ngram=3, mask_rate=0.15, z_loss=1e-4
    )  # fmt: skip
    c.tokenizer.update(kind="byte_bpe", vocab_size=16384, mask_token=True)
    c.data.update(sequence_length=128, packing="documents")
    c.train.update(batch_size=32_768, steps=15_625)
    c.optimizer.update(
        name="lamb", learning_rate=1e-2, schedule="cosine", warmup_steps=250, decay_steps=15_625, final_fraction=0.1,
        beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.1, clip_norm=2.0,
    )  # fmt: skip
    families.place(c, devices=64, microbatches=2)
    if options["tiny"]:
        families.shrink(c, TINY)
    return c
