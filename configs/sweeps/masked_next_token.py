"""Is one model that learns both ways as good as each of its parents? (Charpentier and Samuel 2024, arXiv:2410.24159.)

    python sweep.py --sweep=configs/sweeps/masked_next_token.py --study --parallel=2

Nine runs, about ten minutes on two CPU cores.
"""

from cloze.configs.sweeps import RUN, SEEDS, SHAPE
from cloze.sweeps import Study, product

STEPS = 300
EVALUATE = ["--validate_as=objective.causal_share=0.5,train.eval_batches=100"]
STUDY = Study(
    title="Masked next tokens beside both parents",
    claim="A decoder that learns hidden tokens in some rows and next tokens in the others is better than one that "
    "learns either alone.",
    source="Charpentier and Samuel 2024, GPT or BERT: why not both?, arXiv:2410.24159, abstract",
    published="On the benchmarks of the BabyLM challenge 2024 the hybrid is better than masked-only and causal-only "
    "models; it won the challenge's tracks of text.",
    here=f"GPT-BERT with two layers of 128 over 2,048 pieces reads {STEPS} batches of 16 x 64 tokens of the embedded "
    "corpus. `causal_share` of the rows are read from left to right; 0 and 1 are the parents. All are validated on "
    "both questions: hidden tokens (`mntp`) and next tokens (`causal`).",
    metric="validate_as/mntp",
    more_metrics=("validate_as/causal",),
    columns=("validate_as/mntp", "validate_as/mntp_accuracy", "validate_as/causal", "validate_as/causal_accuracy"),
    lower_is_better=True,
    not_shown="The benchmarks, which the published claim is of; models of a useful size; longer runs; the share of one "
    "sixteenth that was published. A parent does not know the other's question at all.",
)


def sweep():
    """Both, masked alone and causal alone; three seeds."""
    axes = {"config": "configs/gpt_bert.py:tiny", "objective.causal_share": [0.5, 0.0, 1.0]}
    adam = {"optimizer.name": "adamw", "optimizer.learning_rate": 2e-3}
    lengths = dict.fromkeys(("train.steps", "train.eval_every", "checkpoint.every", "optimizer.decay_steps"), STEPS)
    return product(axes, RUN | lengths | {"optimizer.warmup_steps": 30}, SHAPE, adam, seed=SEEDS)
