"""The experiments that benchmarks go through: every objective, with the config that trains it."""

import contextlib
import io

import jax

from cloze.training import resolve
from cloze.training.run import build as build_run

# Names of config files, dots for folders, with arguments after a colon. {runs} is where earlier ones of the list were
# trained.
ALL = (
    "bert_base", "bert_base:masking=whole_words,pairs=none", "bert_base:masking=ngrams,pairs=none",
    "bert_base:masking=spans,pairs=none", "bert_base:masking=entities,pairs=none", "bert_base:static=10,pairs=none",
    "roberta", "albert", "spanbert", "unilm", "xlnet", "electra", "deberta_v3", "coco_lm",
    "distilbert:teacher={runs}/bert_base", "gpt2", "gpt_bert", "transformer", "t5", "t5_study",
    "t5_study:noise=bert_style", "t5_study:noise=mass", "t5_study:noise=drop_tokens", "t5_study:noise=deshuffle",
    "t5_study:objective=lm", "t5_study:architecture=prefix_lm", "t5_study:architecture=lm,objective=lm",
    "t5_salient_spans", "bart", "ul2", "skip_gram", "glove", "lstm_lm", "elmo",
    "lstm_classifier --config.init.checkpoint={runs}/glove", "elmo_classifier --config.init.checkpoint={runs}/elmo",
    "gpt1_classifier", "finetune.classify --config.init.checkpoint={runs}/bert_base",
    "finetune.embed --config.init.checkpoint={runs}/bert_base", "finetune.respond --config.init.checkpoint={runs}/gpt2",
    "finetune.text_to_text --config.init.checkpoint={runs}/t5",
)  # fmt: skip


def build(config, tokenizer=None):
    """The program of a run's first stage, on one device, in silence; `tokenizer` is the directory of a run's own."""
    with contextlib.redirect_stdout(io.StringIO()):
        resolved = resolve.resolve(config)
        return build_run(resolved, tokenizer, devices=jax.devices()[:1], report=lambda line: None).program()
