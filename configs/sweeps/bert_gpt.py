"""BERT against GPT on pairs of texts (Devlin et al. 2019, arXiv:1810.04805).

    python sweep.py --sweep=configs/sweeps/bert_gpt.py --study --parallel=2

Six runs, on six that are pretrained; about twelve minutes on two CPU cores.
"""

from cloze.configs.sweeps import BERT, FEW, HELD_OUT, RUN, SEEDS, SHAPE, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

STEPS = 300
STUDY = Study(
    title="BERT against GPT on pairs of texts",
    claim="A model that reads in both directions is better at telling how two texts belong together than one of the "
    "same size that reads from left to right.",
    source="Devlin et al. 2019, BERT, arXiv:1810.04805, table 1",
    published="GLUE test, BERT-base and OpenAI's GPT: QNLI 90.5 and 87.4, RTE 66.4 and 56.0, MNLI-m 84.6 and 82.1, "
    "average 79.6 and 75.1.",
    here="A BERT and a GPT-2 of two layers of 128 over 2,048 pieces each have read 600 batches of 16 x 64 tokens of "
    f"the embedded corpus, without the texts that they are judged by, and learn in {STEPS} steps of 16 pairs whether a "
    "summary is that of a docstring's body. GPT-2 learns from every token, BERT from 15% of them.",
    metric="validation/accuracy",
    lower_is_better=False,
    columns=("train/loss", "validation/loss", "validation/accuracy", "validation/f1"),
    not_shown=f"{STILL_SMALL} Their tokenizers differ: BERT's pieces are in lower case.",
)


def sweep():
    """Two models, three seeds."""
    adam = {"optimizer.learning_rate": 2e-3}
    gpt = product({"config": "configs/gpt2.py:tiny"}, HELD_OUT, RUN, SHAPE, adam, seed=SEEDS)
    lengths = {"train.steps": STEPS, "train.eval_every": STEPS, "checkpoint.every": STEPS}
    task = {"config": "configs/finetune/classify.py:tiny,task=summary_match"}
    return product(chain(begun_with(BERT), begun_with(gpt)), task, FEW | lengths)
