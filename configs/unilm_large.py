"""UniLM-large, cased, 335M parameters: gaps filled in four directions (Dong et al. 2019, arXiv:1905.03197).

    python train.py --config=configs/unilm_large.py:tiny              # minutes on two CPU cores
    python train.py --config=configs/unilm_large.py:data=wikipedia    # 770,000 steps of 330 rows
    python train.py --config=configs/unilm_large.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for 30 accelerators of 80 GB, computing in bfloat16.

The paper starts from BERT-large, and so its learning rate is low:

    python convert.py from_hf --source=bert-large-cased/ --workdir=runs/bert-large-cased
    python train.py --config=configs/unilm_large.py:data=wikipedia \\
      --config.init.checkpoint=runs/bert-large-cased --config.tokenizer.path=runs/bert-large-cased/tokenizer

Published, finetuned: ROUGE-L 40.51 on CNN/DailyMail, F1 82.5 on CoQA by generation (abstract). That model also read
BooksCorpus, which is no longer distributed. Without `data` it reads pydocs, documentation that every installation
holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.unilm("unilm_large", arguments, preset="large", devices=30)
