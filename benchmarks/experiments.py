"""The experiments that benchmarks go through: every objective, with the config that trains it."""

import contextlib
import io

import jax

from training import experiment as experiments

# Names of config files, with arguments after a colon.
ALL = (
    "bert_base", "bert_base:masking=whole_words", "bert_base:masking=ngrams", "bert_base:masking=spans",
    "bert_base:static=10", "roberta_base", "albert", "spanbert_base", "unilm_base", "gpt2_small", "t5_small",
    "t5_study", "t5_study:objective=lm", "t5_study:architecture=prefix_lm", "bart_base", "ul2", "electra",
    "deberta_v3", "coco_lm", "xlnet", "lstm_lm", "elmo", "skip_gram", "glove",
)  # fmt: skip


def build(config, tokenizer=None):
    """The experiment on one device, in silence; `tokenizer` is the directory of a run's own."""
    with contextlib.redirect_stdout(io.StringIO()):
        return experiments.build(config, tokenizer, devices=jax.devices()[:1], report=lambda line: None)
