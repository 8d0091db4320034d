"""DistilBERT, 66M parameters, learns from BERT-base (Sanh et al. 2019, arXiv:1910.01108): 176M parameters together.

    python train.py --config=configs/bert_base.py:tiny             # the teacher, runs/bert_base-tiny
    python train.py --config=configs/distilbert.py:tiny            # minutes on two CPU cores
    python train.py --config=configs/distilbert.py:teacher=runs/bert,data=wikipedia
    python train.py --config=configs/distilbert.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 8 accelerators of 80 GB, computing in bfloat16.

`teacher` is the directory of a run with a masked language model of the student's width, runs/bert_base if not given:
one of train.py, or of convert.py from_hf. The student has half its layers, begins as every second of them with the
teacher's embeddings and head, and reads with its tokenizer; of a teacher whose layers are not like its own it begins
anew, and the log says why. Position embeddings stay as they are, as in the released code. To resume or load the run,
the teacher's directory must be there, though no more than its config.json.

Terms of the loss: soft (weight 5), the divergence from the teacher's answers at temperature 2, at all tokens; mlm (2),
the hidden tokens; cosine (1), one less the cosine of both last states.

Published, finetuned: 77.0 on the average of GLUE's dev sets, where its teacher has 79.5 (table 1). It read what BERT
read. Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model.
"""

from cloze.configs import composites


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return composites.distilbert("distilbert", arguments)
