"""T5's comparison of architectures and objectives, ten rows (Raffel et al. 2020, arXiv:1910.10683, table 2).

    python sweep.py --sweep=configs/sweeps/t5_table2.py --study --parallel=2

Thirty runs, on thirty that are pretrained; about an hour on two CPU cores.
"""

from cloze.configs.sweeps import HELD_OUT, LABELS, RUN, SEEDS, SHAPE, STILL_SMALL, begun_with
from cloze.sweeps import Study, chain, product

STUDY = Study(
    title="Architectures and objectives of T5",
    claim="Denoising is better than language modelling in every architecture; encoder and decoder are best, sharing "
    "their parameters costs little, a prefix language model is close, a language model is last.",
    source="Raffel et al. 2020, T5, arXiv:1910.10683, section 3.2 and table 2",
    published="Finetuned, GLUE, for denoising and for language modelling: encoder-decoder 83.28 and 79.56, shared "
    "82.81 and 79.60, half as deep 80.88 and 78.67, prefix language model 81.82 and 79.68, language model 74.70 and "
    "73.78.",
    here="Models of 128 over 2,048 pieces, two layers in each stack or four in a decoder alone, read 400 batches of 16 "
    "x 64 tokens of the embedded corpus without the texts that they are judged by. Then they learn in 200 steps of 16 "
    f"texts to write from which of ten packages a docstring is, from {LABELS:,} labelled texts.",
    metric="validation/loss",
    lower_is_better=True,
    columns=("train/loss", "validation/loss"),
    not_shown=f"{STILL_SMALL} The loss of the right answer is compared, not whether it is written; every answer is the "
    "name of a package. A language model finetuned here is scored on the answer alone.",
)


def sweep():
    """Ten rows, three seeds."""
    steps = 400
    lengths = {key: steps for key in ("train.steps", "train.eval_every", "checkpoint.every")}
    run = {key: value for key, value in RUN.items() if key not in ("model.layers", "optimizer.decay_steps")} | lengths
    two = {"model.layers": 2, "model.decoder_layers": 2}
    stacks = {"encoder_decoder": two, "shared": two, "half": {"model.layers": 1, "model.decoder_layers": 1},
              "prefix_lm": {"model.layers": 4}, "lm": {"model.layers": 4}}  # fmt: skip
    rows = [
        product({"config": f"configs/t5_study.py:tiny,architecture={architecture},objective={objective}"}, layers,
                HELD_OUT, run, SHAPE, seed=SEEDS)
        for objective in ("denoising", "lm")
        for architecture, layers in stacks.items()
    ]  # fmt: skip
    task = "configs/finetune/text_to_text.py:tiny,task=package"
    finetuned = []
    for row in rows:
        prefix = {"objective.prefix": "full" if "prefix_lm" in row[0]["config"] else "causal"}
        finetuned.append(product(begun_with(row), {"config": task}, prefix))
    few = {"train.steps": 200, "train.batch_size": 16, "train.eval_every": 200, "checkpoint.every": 200,
           "optimizer.warmup_steps": 20, "task.limit": LABELS}  # fmt: skip
    return product(chain(*finetuned), few)
