"""UniLM-base, cased, 109M parameters: gaps filled in four directions (Dong et al. 2019, arXiv:1905.03197).

    python train.py --config=configs/unilm_base.py:tiny              # minutes on two CPU cores
    python train.py --config=configs/unilm_base.py:data=wikipedia    # 770,000 steps of 330 rows
    python train.py --config=configs/unilm_base.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 10 accelerators of 80 GB, computing in bfloat16.

The paper starts from BERT, and so its learning rate is low:

    python convert.py from_hf --source=bert-base-cased/ --workdir=runs/bert-base-cased
    python train.py --config=configs/unilm_base.py:data=wikipedia \\
      --config.init.checkpoint=runs/bert-base-cased --config.tokenizer.path=runs/bert-base-cased/tokenizer

The paper has no model of this size, which serves to compare with BERT-base. Without `data` it reads pydocs,
documentation that every installation holds: a smoke test of the full-size model, whose loss falls until those few
million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.unilm("unilm_base", arguments, preset="base", devices=10)
