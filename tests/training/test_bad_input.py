"""Every mistake in a configuration is one clear error before anything is compiled."""

import math

import pytest

from cloze.errors import ConfigError, DataError
from tests.training import tiny_run

CASES = {
    "batch": ("gpt2", dict(train__batch_size=10, train__microbatches=4), ConfigError, "train.batch_size=10.*nearest"),
    "width": ("gpt2", dict(model__width=30), ConfigError, "model.width=30.*heads"),
    "positions": ("gpt2", dict(data__sequence_length=32, model__max_positions=16), ConfigError, "max_positions"),
    "mesh": ("gpt2", dict(mesh__fsdp=3, mesh__data=1), ConfigError, "mesh.fsdp=3.*devices"),
    "missing file": ("gpt2", dict(data__source="text:/nowhere/*.txt"), DataError, "/nowhere"),
    "generator": ("gpt2", dict(train__dropout_generator="rbgg"), ConfigError, "dropout_generator"),
    "clip": ("gpt2", dict(optimizer__clip_norm=-1.0), ConfigError, "clip_norm"),
    "no microbatches": ("gpt2", dict(train__microbatches=0), ConfigError, "microbatches"),
    "packing": ("t5", dict(data__packing="documents"), ConfigError, "data.packing=documents"),
    "validation": ("gpt2", dict(data__validation_source="text:/nowhere/*.md"), DataError, "/nowhere"),
    "empty source": ("gpt2", dict(data__source=""), ConfigError, "data.source"),
    "unknown source": ("gpt2", dict(data__source="pydcos"), ConfigError, "did you mean 'pydocs'"),
    "unprepared": ("gpt2", dict(data__source="tfds:lm1b"), DataError, "tfds build lm1b"),
    "vocabulary": ("gpt2", dict(model__vocab_size=100), ConfigError, "tokenizer.*100"),
    "objective": ("gpt2", dict(objective__name="masked_lm"), ConfigError, "masked_lm.*encoder"),
    "objective name": ("gpt2", dict(objective__name="masked_ml"), ConfigError, "did you mean 'masked_lm'"),
    "rate": ("bert", dict(objective__mask_rate=1.5), ConfigError, "mask_rate=1.5"),
    "sentinels": ("t5", dict(tokenizer__sentinels=0), ConfigError, "sentinel"),
    "tokenizer file": ("gpt2", dict(tokenizer__path="/nowhere/tokenizer.json"), DataError, "/nowhere/tokenizer.json"),
    "tokenizer kind": ("gpt2", dict(tokenizer__kind="byte_bep"), ConfigError, "one of wordpiece, byte_bpe"),
    "duration": ("gpt2", dict(train__steps="5 weeks"), ConfigError, "train.steps='5 weeks'"),
    "no steps": ("gpt2", dict(train__steps=0), ConfigError, "steps"),
    "warm-up": ("gpt2", dict(optimizer__warmup_steps=50), ConfigError, "warmup_steps"),
    "trainable": ("gpt2", dict(trainable=((r"decoder/layer/.*", True), (r".*", False))), ConfigError, "decoder/layer/"),
    "nothing trains": ("gpt2", dict(trainable=((r".*", False),)), ConfigError, "no parameter"),
    "seed": ("gpt2", dict(seed=2**64), ConfigError, "seed=18446744073709551616 must be at least 0 and at most"),
    "endless batch": ("gpt2", dict(train__batch_size=10**8), ConfigError, "train.batch_size=100000000 must be"),
    "endless run": ("gpt2", dict(train__steps="1e300 epochs"), ConfigError, "train.steps='1e300 epochs' comes to"),
    "decays maybe": (
        "gpt2",
        dict(optimizer__decay_rules=((".*", "maybe"),)),
        ConfigError,
        "optimizer.decay_rules=.* each item a list of 2: a regular expression, true or false",
    ),
    "no pattern": ("gpt2", dict(trainable=(("(", True),)), ConfigError, "trainable=.* a regular expression"),
    "backwards": (
        "gpt2",
        dict(optimizer__multipliers=((".*", -1.0),)),
        ConfigError,
        "multipliers=.*must be at least 0",
    ),
    "infinite rate": ("gpt2", dict(optimizer__learning_rate=math.inf), ConfigError, "must be a finite number"),
    "no epsilon": ("gpt2", dict(optimizer__epsilon=0.0), ConfigError, "optimizer.epsilon=0.0 must be more than 0"),
    "above the peak": ("gpt2", dict(optimizer__final_fraction=7.0), ConfigError, "final_fraction=7.0 must be"),
    "negative deviation": (
        "gpt2",
        dict(model__initializer_std=-1.0),
        ConfigError,
        "model.initializer_std=-1.0 must be",
    ),
    "no rotation": ("gpt2", dict(model__rope_theta=0.0), ConfigError, "model.rope_theta=0.0 must be more than 0"),
    "constant to nothing": (
        "gpt2",
        dict(optimizer__schedule="constant", optimizer__final_fraction=0.1),
        ConfigError,
        "final_fraction=0.1 needs optimizer.schedule=linear or",
    ),
    "nothing to inherit": ("gpt2", dict(init__inherit=True), ConfigError, "init.inherit=True needs init.checkpoint="),
    "limit of no task": ("gpt2", dict(task__limit=5), ConfigError, "task.limit=5 needs task.name="),
    "long rows": (
        "gpt2",
        dict(data__sequence_length=100_000, model__max_positions=200_000),
        DataError,
        "sequence_length",
    ),
    "backend of a GPU": (
        "gpt2",
        dict(model__attention_backend="cudnn", model__attention_dropout=0.0, model__dtype="bfloat16"),
        ConfigError,
        "attention_backend=cudnn needs an NVIDIA GPU, here are devices of kind cpu",
    ),
    "pattern": ("gpt2", dict(model__pattern=(("window", 4),)), ConfigError, "model.pattern=.* each item an object"),
    "dropout backend": (
        "gpt2",
        dict(model__attention_dropout=0.1, model__attention_backend="xla"),
        ConfigError,
        "attention_backend=xla has no attention dropout",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case, root):
    family, changes, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        tiny_run.build(tiny_run.config(family, root, **changes))


@pytest.mark.parametrize("content, word", [(b"caf\xe9 au lait", "UTF-8"), (b"  \n ", "no text|empty|no document")])
def test_undecodable_and_empty_text(content, word, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=word):
        tiny_run.build(tiny_run.config("gpt2", tmp_path))


def test_jsonl_and_mixtures_build(root):
    import json

    lines = [json.dumps({"text": path.read_text()}) for path in sorted((root / "text").glob("*.txt"))]
    (root / "all.jsonl").write_text("\n".join(lines) + "\n")
    source = f"jsonl:{root}/all.jsonl=0.25,text:{root}/text/*.txt=0.75"
    program = tiny_run.build(tiny_run.config("gpt2", root, data__source=source))
    assert program.run.data["train"].batches(0)["tokens"].shape == (16, 33)
