"""Should the inputs of a model that writes see each other in both directions? (Raffel et al. 2020, arXiv:1910.10683.)

    python sweep.py --sweep=configs/sweeps/visibility.py --study --parallel=2

Nine runs, about ten minutes on two CPU cores.
"""

from cloze.configs.sweeps import RUN, SEEDS, SHAPE
from cloze.sweeps import Study, chain, product

STUDY = Study(
    title="Visibility: causal, prefix, bidirectional",
    claim="A model that answers a text should read it in both directions: a decoder whose inputs see each other is far "
    "better than one that reads from left to right.",
    source="Raffel et al. 2020, T5, arXiv:1910.10683, section 3.2 and table 2",
    published="Denoising, finetuned, GLUE, SQuAD EM and SuperGLUE: language model 74.70, 61.14, 55.02; prefix language "
    "model 81.82, 78.94, 68.11; encoder and decoder that share their parameters 82.81, 80.63, 70.73.",
    here="Models of 128 over 2,048 pieces learn T5's denoising from 600 batches of 16 x 64 tokens of the embedded "
    "corpus. A decoder of four layers reads what is left of a text and then writes what was hidden; `prefix` says "
    "whether the text is read causally or in full. Encoder and decoder of two layers each share their parameters. All "
    "are scored on what was hidden alone.",
    metric="validation/loss",
    lower_is_better=True,
    not_shown="Finetuning, which the published figures are of; there the causal model was scored on its inputs as "
    "well. Parameters differ: cross-attention is the encoder-decoder's alone, and its layers run twice.",
)


def sweep():
    """Three visibilities, three seeds."""
    decoder = "configs/t5_study.py:tiny,architecture=prefix_lm"
    models = chain(
        {"config": decoder, "objective.prefix": ["causal", "full"], "model.layers": 4},
        {"config": "configs/t5_study.py:tiny,architecture=shared", "model.layers": 2, "model.decoder_layers": 2},
    )
    run = {key: value for key, value in RUN.items() if key not in ("model.layers", "optimizer.decay_steps")}
    return product(models, run, SHAPE, seed=SEEDS)
