"""BERT with 3 layers of 128, 0.9M parameters: hidden tokens of full sentences, in three minutes on two CPU cores.

    python train.py --config=configs/demo.py                          # what `make demo` trains
    python train.py --config=configs/demo.py:data=text:books/*.txt    # on text of your own

Everything but the sizes, the rate and the number of steps is BERT's (Devlin et al. 2019, arXiv:1810.04805), without the
task of next sentences, which RoBERTa's authors found not to be needed (Liu et al. 2019, arXiv:1907.11692, section 4.2):
rows of 64 tokens are one text, not halves of two, and a third of the hidden tokens is found in them, not a quarter.
A smaller model with a smaller vocabulary than that of `configs/bert_base.py:tiny` sees twice as many tokens in the
same time. At a peak rate of 3e-3 it ends at the unigram distribution and stays there.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c = encoders.bert("demo", ",".join(filter(None, ["tiny", "pairs=none", arguments])))
    c.model.update(layers=3, width=128, heads=2, ffn=512, vocab_size=2048)
    c.tokenizer.vocab_size = 2048
    c.train.update(steps=4000, log_every=100, eval_every=500)
    c.optimizer.update(learning_rate=1.5e-3, warmup_steps=500, decay_steps=4000)
    c.checkpoint.every = 1000
    return c
