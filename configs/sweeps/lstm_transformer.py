"""Is a transformer better than an LSTM of as many parameters? (Kaplan et al. 2020, arXiv:2001.08361, figure 7.)

    python sweep.py --sweep=configs/sweeps/lstm_transformer.py --study

Six runs, about five minutes on two quiet CPU cores: two layers of each, with as many parameters, tokens and pieces.
"""

from cloze.configs.sweeps import SEEDS
from cloze.sweeps import Study, chain, product

VOCABULARY, LENGTH = 512, 128
STUDY = Study(
    title="LSTMs and transformers",
    claim="With as many parameters and tokens, transformers reach a lower loss than LSTMs, and the difference grows "
    "with the size.",
    source="Kaplan et al. 2020, Scaling Laws for Neural Language Models, arXiv:2001.08361, section 3.2.1 and figure 7",
    published="In rows of 1,024 tokens LSTMs do as well on the first tokens of a row and stop improving after fewer "
    "than 100 of them; transformers improve to the row's end. The figure has curves and no numbers.",
    here="A GPT-2 of two layers of 48 and an LSTM of two layers of 59 cells, 86 thousand parameters each, on the "
    "embedded corpus in 512 pieces, rows of 128 tokens, at one learning rate.",
    metric="validation/loss",
    lower_is_better=True,
    not_shown="Other sizes, so nothing of a law; long rows; other learning rates, or dropout, which LSTMs were tuned "
    "with. Parameters are as many, not seconds: on a CPU an LSTM waits for each token in turn.",
)
SHARED = {
    "model.vocab_size": VOCABULARY,
    "model.layers": 2,
    "tokenizer.kind": "byte_bpe",
    "tokenizer.vocab_size": VOCABULARY,
    "data.sequence_length": LENGTH,
    "data.packing": "windows",
    "train.batch_size": 8,
    "train.steps": 1500,
    "train.log_every": 100,
    "train.eval_every": 1500,
    "train.eval_batches": 100,
    "checkpoint.every": 1500,
    "checkpoint.keep": 1,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "cosine",
    "optimizer.final_fraction": 0.1,
    "optimizer.warmup_steps": 50,
    "optimizer.decay_steps": None,
}


def sweep():
    """Two architectures, three seeds."""
    transformer = {"config": "configs/gpt2.py:tiny", "model.width": 48, "model.heads": 3, "model.ffn": 192,
                   "model.max_positions": LENGTH}  # fmt: skip
    lstm = {"config": "configs/lstm_lm.py:tiny", "model.width": 59, "model.ffn": 59}
    return product(chain(transformer, lstm), SHARED, seed=SEEDS)
