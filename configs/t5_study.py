"""T5's comparison of architectures and objectives, the default of 223M parameters (Raffel et al. 2020, section 3.2,
arXiv:1910.10683).

    python train.py --config=configs/t5_study.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_study.py:data=c4  # 524,288 steps of 128 rows, 3.4 * 10^10 tokens
    python train.py --config=configs/t5_study.py:tiny,architecture=prefix_lm,objective=lm
    python train.py --config=configs/t5_study.py:tiny,noise=mass
    python train.py --config=configs/t5_study.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.

All ten rows of table 2 train as the study's baseline. Published, after finetuning: GLUE, SQuAD (EM) and SuperGLUE,
for `objective=denoising` (the default) and `objective=lm`.

    architecture     parameters  denoising              lm
    encoder_decoder  223M        83.28  80.88  71.36    79.56  76.02  64.29
    shared           138M        82.81  80.63  70.73    79.60  76.35  63.50
    half             124M        80.88  77.59  68.42    78.67  75.32  64.06
    lm               110M        74.70  61.14  55.02    73.78  53.81  56.51
    prefix_lm        110M        81.82  78.94  68.11    79.68  76.87  64.86

denoising hides 15% of the tokens one by one and gives a sentinel to each run of them; 512 inputs make at most 192
targets. A decoder reads inputs and targets as one text: `prefix_lm` sees the inputs in both directions and predicts
the targets, `lm` predicts both. lm cuts a text at random and predicts the rest from the beginning, or, with
architecture=lm, predicts all of it. The rows of the two decoders are longer with denoising than with lm.

`noise` compares ways of denoising (tables 4 and 5): iid_spans (the default), bert_style, mass, drop_tokens, deshuffle.
Published, encoder_decoder: GLUE 83.28, 82.96, 82.32, 84.44 and 73.17.

Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model, whose
loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5_study("t5_study", arguments, devices=1, microbatches=8)
