"""Should tokens, whole words or spans be hidden? (Devlin et al. 2019; Joshi et al. 2020, arXiv:1907.10529.)

    python sweep.py --sweep=configs/sweeps/masked_units.py --study --parallel=2

Nine runs, about nine minutes on two CPU cores. All are validated on single hidden tokens.
"""

from cloze.configs.sweeps import EVALUATE, HERE, SEEDS, SHORT, SMALL  # noqa: F401
from cloze.sweeps import Study, product

STUDY = Study(
    title="Tokens, whole words and spans",
    claim="Hiding whole words or spans teaches more than hiding single pieces of words.",
    source="BERT's release of whole-word models, May 2019, github.com/google-research/bert; Joshi et al. 2020, "
    "SpanBERT, arXiv:1907.10529, abstract",
    published="BERT-large uncased on SQuAD 1.1: 91.0 F1 with tokens, 92.8 with whole words; SpanBERT, which adds an "
    "objective and single segments: 94.6.",
    here=f"{HERE} All hide 15%, and are validated on single hidden tokens.",
    metric="validate_as/mlm",
    lower_is_better=True,
    not_shown=f"{SMALL} Validation asks the question that the first setting was trained on, and not the others.",
)


def sweep():
    """Three units, three seeds."""
    axes = {"config": "configs/demo.py", "objective.masking": ["tokens", "whole_words", "spans"]}
    return product(axes, SHORT, seed=SEEDS)
