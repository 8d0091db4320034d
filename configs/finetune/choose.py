"""One of several continuations of a context: a score for each, and a softmax over them (Radford et al. 2018, 3.3).

    python train.py --config=configs/finetune/choose.py:task=hellaswag --config.init.checkpoint=runs/bert
    python train.py --config=configs/finetune/choose.py:task=openbookqa,gpt1 --config.init.checkpoint=runs/gpt1

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. `gpt1` puts three new tokens around the texts and adds the language model's loss.

Published: BERT-large 86.3% on SWAG (Devlin et al. 2019, table 4); GPT 59.0% on RACE (Radford et al. 2018, table 3).
"""

from cloze.configs import finetuning


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment(
        "choose", arguments, task="hellaswag", objective="supervised", gpt1=(False, True)
    )  # fmt: skip
    c.train.batch_size = 16
    if options["gpt1"]:
        c.task.markers = True
        c.objective.lm_weight = 0.5
        c.optimizer.update(learning_rate=6.25e-5, warmup_steps="0.006 epochs")
    return c
