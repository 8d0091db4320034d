"""A tag for each word: the first piece of a word is labelled, the others are not (Devlin et al. 2019, section 5.3).

    python train.py --config=configs/finetune/tag.py:tiny,task=token_kinds --config.init.checkpoint=runs/bert_base-tiny
    python train.py --config=configs/finetune/tag.py:task=conll2003 --config.init.checkpoint=runs/bert

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. Rows are packed, as sentences are short.

Published, BERT-base: 92.4 entity F1 on CoNLL-2003 (Devlin et al. 2019, table 7).
"""

from cloze.configs import finetuning


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, _ = finetuning.experiment("tag", arguments, task="token_kinds", objective="supervised")
    return c
