"""UniLM, cased, base and large: gaps filled in four directions (Dong et al. 2019, arXiv:1905.03197).

    python train.py --config=configs/unilm.py:tiny                         # minutes on two CPU cores
    python train.py --config=configs/unilm.py:size=large,data=wikipedia    # 770,000 steps of 330 rows
    python train.py --config=configs/unilm.py --config.train.batch_size=8 --config.data.sequence_length=128

`size` is base, if not given, or large. Accelerators are of 80 GB and compute in bfloat16. Then the published results,
finetuned: ROUGE-L on CNN/DailyMail, F1 on CoQA by generation (abstract). The paper has no model of the base size, which
serves to compare with BERT-base.

    size   parameters  accelerators  CNN/DM  CoQA
    base   109M        10            -       -
    large  335M        30            40.51   82.5

The paper starts from BERT-large, and so its learning rate is low:

    python convert.py from_hf --source=bert-large-cased/ --workdir=runs/bert-large-cased
    python train.py --config=configs/unilm.py:size=large,data=wikipedia \\
      --config.init.checkpoint=runs/bert-large-cased --config.tokenizer.path=runs/bert-large-cased/tokenizer

That model also read BooksCorpus, which is no longer distributed. Without `data` it reads pydocs, documentation that
every installation holds: a smoke test of the full-size model, whose loss falls until those few million tokens are known
by heart.
"""

from cloze.configs import encoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoders.unilm("unilm", arguments)
