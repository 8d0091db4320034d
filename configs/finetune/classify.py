"""A class, or a number, for a text or a pair of texts: a pretrained model with a new head.

    python train.py --config=configs/finetune/classify.py:tiny,task=package --config.init.checkpoint=runs/bert_base-tiny
    python train.py --config=configs/finetune/classify.py:task=sst2,method=lora --config.init.checkpoint=runs/bert
    python train.py --config=configs/finetune/classify.py:task=stsb,gpt1 --config.init.checkpoint=runs/gpt1

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. Encoders read [CLS] A [SEP] B [SEP], decoders their last token, encoder-decoders
the same text on both sides. `gpt1` is GPT's way: three new tokens around the texts, both orders of similar ones, and
the language model's loss beside (Radford et al. 2018, section 3.2 and 3.3).

Tasks: package, summary_match, definition (embedded); cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli, snli,
scitail, boolq, cb, wic, ...; from plain files with --config.task.files=FOLDER. Published, BERT-base: 79.6 on GLUE
(Devlin et al. 2019, table 1).
"""

from cloze.configs import finetuning

BOTH_ORDERS = ("stsb", "mrpc", "qqp")  # pairs without an order


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment(
        "classify", arguments, task="package", objective="supervised", gpt1=(False, True)
    )  # fmt: skip
    if options["gpt1"]:
        c.task.update(markers=True, both_orders=options["task"] in BOTH_ORDERS)
        c.objective.lm_weight = 0.5
        c.optimizer.update(learning_rate=6.25e-5, warmup_steps="0.006 epochs")
    return c
