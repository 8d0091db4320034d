"""GPT, 117M parameters: the next token (Radford et al. 2018, "Improving language understanding").

    python train.py --config=configs/gpt1.py:tiny       # minutes on two CPU cores
    python train.py --config=configs/gpt1.py:data=pg19  # 100 epochs of 64 rows a step
    python train.py --config=configs/gpt1.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

Rate, warm-up, batch and length are the paper's. It prints neither Adam's constants nor a clipping of pretraining:
they are those of its finetuning code. BooksCorpus is no longer distributed; PG-19 holds books, too, though ten times as
many, so that 100 epochs of it are ten times as long. Text is folded to lower case, as there; spaCy and ftfy, which
cleaned it, are left out.

Published: perplexity 18.4 per token on BooksCorpus (section 4.1); finetuned: GLUE 72.8 (section 4.2). Without `data`
it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose loss falls
until those few million tokens are known by heart.
"""

from cloze.configs import decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return decoders.gpt1("gpt1", arguments, devices=1, microbatches=2)
