"""T5 1.1, 77M parameters and more, trained on with salient spans (Roberts et al. 2020, arXiv:2002.08910).

    python train.py --config=configs/t5_salient_spans.py:tiny     # minutes on two CPU cores
    python train.py --config=configs/t5_salient_spans.py:size=base,data=wikipedia \\
        --config.init.checkpoint=runs/t5_v1_1-size=base                # 100,000 steps of 2,048 rows
    python train.py --config=configs/t5_salient_spans.py --config.train.batch_size=8 --config.data.sequence_length=128

Meant for one accelerator of 80 GB, on which --config.model.dtype=bfloat16 is faster; more of them share the batch.
`size` is small (the default), base, large, xl or xxl; the last three are meant for 8, 64 and 512 accelerators. The last
cuts heads, feed-forward and vocabulary over 8 of them; on fewer than 8 add --config.mesh.tensor=1.

One name, date or number of each sentence is hidden and spelled out. What is salient is found by rules over the text,
where the paper had a tagger. The parameters are those of a run of t5_v1_1 of the same size and the same tokenizer,
given with --config.init.checkpoint; without it, they are new ones. 100,000 steps at a constant rate of 1e-3, where
T5's had fallen to; the batch is that of T5 1.1.

Published, then finetuned: closed-book Natural Questions, exact match 35.2 for XXL (table 1; without salient spans
32.8). Without `data` it reads pydocs, documentation that every installation holds: a smoke test of the full-size model,
whose loss falls until those few million tokens are known by heart.
"""

from cloze.configs import encoder_decoders


def get_config(arguments=""):
    """The experiment; `arguments` is the text after the colon of --config."""
    return encoder_decoders.t5_salient_spans("t5_salient_spans", arguments)
