"""A decoder that answers prompts: instructions, dialogue, summaries; the loss is on the responses alone.

    python train.py --config=configs/finetune/respond.py:tiny,task=summary --config.init.checkpoint=runs/gpt2-tiny
    python train.py --config=configs/finetune/respond.py:task=jsonl:text,method=lora --config.task.files=chats/ \\
      --config.init.checkpoint=runs/llama

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (124M for
GPT-2 small); meant for one accelerator. Examples have inputs and targets, or turns, of which the assistant's are
learned. Short ones are packed side by side.

Published: none for these tasks; InstructGPT (Ouyang et al. 2022, section 3.4) finetunes GPT-3 so, before its rewards.
"""

from cloze.configs import finetuning

TINY = dict(data=dict(sequence_length=128))


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment("respond", arguments, task="summary", objective="responses", tiny=TINY)
    c.objective.prefix = "causal"
    if not options["tiny"]:
        c.data.sequence_length = 512
        c.train.batch_size = 64
        if options["method"] == "full":
            c.optimizer.learning_rate = 2e-5
    return c
