"""Text in, text out: summaries, translations, answers from memory, and classes as words (Raffel et al. 2020).

    python train.py --config=configs/finetune/text_to_text.py:tiny --config.init.checkpoint=runs/t5-tiny
    python train.py --config=configs/finetune/text_to_text.py:task=cnn_dailymail --config.init.checkpoint=runs/t5
    python train.py --config=configs/finetune/text_to_text.py:task=glue --config.init.checkpoint=runs/t5

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (61M for
T5-small); meant for one accelerator. Encoder-decoders answer with their decoder; decoders go on from the prompt, which
they read from left to right, and only the answer is learned. A mixture (glue, super_glue, or names with + between
them) is drawn by numbers of examples. The rate is T5's constant 1e-3 with Adafactor where everything trains.

Published: T5-base 83.3 on GLUE, 19.2 ROUGE-2 on CNN/DailyMail, 80.9 EM on SQuAD (Raffel et al. 2020, table 1).
"""

from cloze.configs import finetuning

TINY = dict(data=dict(sequence_length=96, target_length=32))


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment("text_to_text", arguments, task="summary", objective="responses", tiny=TINY)
    c.task.name = options["task"].replace("+", ",")
    c.objective.prefix = "causal"
    if not options["tiny"]:
        c.data.update(sequence_length=512, target_length=84)
        c.train.update(batch_size=128, eval_every=5_000, eval_batches=50)
        c.train.steps = 2**18
        c.checkpoint.every = 5_000
        if options["method"] == "full":
            c.optimizer.update(
                name="adafactor", learning_rate=1e-3, schedule="constant", warmup_steps=0, weight_decay=0.0,
                clip_norm=0.0,
            )  # fmt: skip
    return c
