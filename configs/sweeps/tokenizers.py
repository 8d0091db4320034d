"""Which tokenizer, and how many pieces? (Bostrom and Durrett 2020, arXiv:2004.03720.)

    python sweep.py --sweep=configs/sweeps/tokenizers.py --study --parallel=2

Nine runs, about twelve minutes on two CPU cores.
"""

from cloze.configs.sweeps import HELD_OUT, RUN, SEEDS, SHAPE
from cloze.sweeps import Study, chain, product

EVALUATE = ["--task=documentation", "--split=test", "--limit=100", "--bootstrap=0"]
STUDY = Study(
    title="Tokenizers by bits per byte",
    claim="Pieces chosen by a unigram language model are better than those of byte-pair encoding.",
    source="Bostrom and Durrett 2020, Byte Pair Encoding is Suboptimal for Language Model Pretraining, "
    "arXiv:2004.03720, abstract",
    published="Encoders, finetuned: the unigram tokenizer is as good as byte-pair encoding or better on all tasks, in "
    "English and Japanese.",
    here="A GPT-2 of two layers of 128 reads 600 batches of 16 x 64 tokens of the embedded corpus, without the texts "
    "that it is judged by: a hundred of the test split. Bits per byte compare between tokenizers; losses do not.",
    metric="documentation/bits_per_byte",
    lower_is_better=True,
    columns=("validation/loss", "documentation/bits_per_byte"),
    not_shown="Finetuning and encoders, which the published figures are of; models of a useful size. Steps are as "
    "many: longer pieces read more text in them, and a larger vocabulary costs more operations and parameters.",
)


def sweep():
    """Byte-pair encoding with two sizes and the unigram model, three seeds."""
    sizes = [1024, 4096]
    pieces = chain(
        *({"tokenizer.kind": "byte_bpe", "tokenizer.vocab_size": size, "model.vocab_size": size} for size in sizes),
        {"tokenizer.kind": "unigram", "tokenizer.vocab_size": 4096, "model.vocab_size": 4096},
    )
    shape = {key: value for key, value in SHAPE.items() if not key.endswith("vocab_size")}
    adam = {"optimizer.learning_rate": 2e-3}
    return product({"config": "configs/gpt2.py:tiny"}, pieces, HELD_OUT, RUN, shape, adam, seed=SEEDS)
