"""The span of a context that answers a question, by its first and last token (Devlin et al. 2019, sections 4.2, 4.3).

    python train.py --config=configs/finetune/span.py:tiny --config.init.checkpoint=runs/bert_base-tiny
    python train.py --config=configs/finetune/span.py:task=squad_v2 --config.init.checkpoint=runs/bert

The checkpoint is a run's directory or a Hugging Face directory, whose model has any number of parameters (110M for
BERT-base); meant for one accelerator. Long contexts are read in windows; a question without an answer points to [CLS].

Published: BERT-base 80.8 EM and 88.5 F1 on SQuAD 1.1, BERT-large 78.7 and 81.9 on 2.0 (development sets).
"""

from cloze.configs import finetuning

TINY = dict(data=dict(sequence_length=128), task=dict(stride=48, max_question=24))


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    c, options = finetuning.experiment("span", arguments, task="section_answer", objective="supervised", tiny=TINY)
    if not options["tiny"]:
        c.data.sequence_length = 384
        c.train.batch_size = 48
        c.train.steps = "2 epochs"
        if options["method"] == "full":
            c.optimizer.learning_rate = 5e-5
    return c
