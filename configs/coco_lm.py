"""COCO-LM base and large: correcting and contrasting text (Meng et al. 2021, arXiv:2102.08473).

    python train.py --config=configs/coco_lm.py:tiny           # minutes on two CPU cores
    python train.py --config=configs/coco_lm.py:size=large,data=c4
    python train.py --config=configs/coco_lm.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is one of these, base if not given; parameters are those of both models together, what they share counted once.
Accelerators are of 80 GB and compute in bfloat16; a step's rows are compared with each other, so that they are not cut
into microbatches. The last column is the published result, accuracy on the matched dev set of MNLI, in % (tables 1 and
2; large is the "++" of the paper, which trains no other).

    size   parameters  accelerators  tokens    MNLI
    base   140M        32            0.13107T  88.5
    large  414M        64            2.048T    91.4

Terms of the loss: mlm of the small model; clm and copy (weight 50), which restore its replacements; scl, which tells a
crop of a row from other rows. A trivial model has the entropy of `replaced`, the share of replaced tokens, as its copy,
and the logarithm of twice the rows of a step less one as its scl. Ablations: --config.objective.contrastive_weight=0
leaves the contrast out.

Base read Wikipedia and BooksCorpus, large 160 GB, as RoBERTa. The peak rate of large and the bound on the gradient's
norm are ours. Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the
full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import composites


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return composites.coco_lm("coco_lm", arguments)
