"""A classifier whose training reveals little of any one example: clipped, noisy gradients (Abadi et al. 2016).

    python train.py --config=configs/finetune/private.py:tiny --config.init.checkpoint=runs/bert_base-tiny
    python train.py --config=configs/finetune/private.py:task=sst2,method=full --config.init.checkpoint=runs/bert

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. By default only the head trains, on states of norm 1, where noise hurts least
(Wang et al. 2024, arXiv:2405.08920); the log gives epsilon for finetune.dp_delta. `noise` is the deviation in units of
the clipping norm.
"""

from cloze.configs import finetuning

NOISE = (1.0, 0.5, 2.0, 4.0)


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    arguments = ",".join(filter(None, ("" if "method=" in arguments else "method=linear_probe", arguments)))
    c, options = finetuning.experiment("private", arguments, task="package", objective="supervised", noise=NOISE)
    c.finetune.update(dp_clip_norm=1.0, dp_noise_multiplier=options["noise"], dp_delta=1e-5)
    if options["method"] == "linear_probe":
        c.finetune.feature_norm = "unit"
        c.optimizer.learning_rate = 0.1
    c.train.batch_size = 256
    c.optimizer.update(weight_decay=0.0, clip_norm=0.0)
    return c
