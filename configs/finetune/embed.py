"""Vectors of texts: those that belong together are near each other (Henderson et al. 2017; Gao et al. 2021, SimCSE).

    python train.py --config=configs/finetune/embed.py:tiny --config.init.checkpoint=runs/bert_base-tiny
    python train.py --config=configs/finetune/embed.py:task=jsonl:embedding --config.task.files=pairs/ \\
      --config.init.checkpoint=runs/bert
    python train.py --config=configs/finetune/embed.py:pooling=last,method=lora --config.init.checkpoint=runs/llama

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. Each anchor of a step is compared with the positives of all others, on all
devices. Lines of a user's files have anchor, positive, and negative where there is one; without positive a text is its
own, under other dropout. `pooling` is that of a run or directory that has learned vectors, else the mean. Of tasks of
pairs, those of one meaning are learned: summary_match, stsb, mrpc, qqp, mnli, snli.

Published: SimCSE-BERT-base 84.3 Spearman on STS-B's test set, from NLI with hard negatives (Gao et al. 2021, table 5).
"""

from cloze.configs import finetuning

POOLINGS = ("auto", "mean", "first", "last")


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment(
        "embed", arguments, task="summary_match", objective="contrastive", pooling=POOLINGS
    )  # fmt: skip
    c.model.pooling = None if options["pooling"] == "auto" else options["pooling"]
    c.data.sequence_length = 64
    if options["tiny"]:
        c.train.steps = "1 epochs"
    else:
        c.train.batch_size = 128
    return c
