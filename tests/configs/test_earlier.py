"""Configurations that version 0.1 saved, with the options of all objectives and methods in them, are read."""

import json
import pathlib

import pytest

from cloze.configs import base, bert_base, gpt3
from cloze.configs.finetune import classify
from cloze.errors import ConfigError

SAVED = pathlib.Path(__file__).with_name("earlier")


@pytest.mark.parametrize(
    "name, config",
    [
        ("bert_base", bert_base.get_config()),
        ("gpt3_sparse", gpt3.get_config("tiny,sparse")),
        ("classify_lora", classify.get_config("tiny,method=lora")),
    ],
)
def test_a_saved_configuration_is_that_of_the_experiment(name, config):
    saved = base.to_dict(base.load(SAVED / f"{name}.json"))
    if config.init.inherit:  # version 0.1 wrote the length of the schedule out, which now follows that of the run
        assert saved["optimizer"].pop("decay_steps") == saved["train"]["steps"]
        saved["optimizer"]["decay_steps"] = None
    # How it runs is as it was saved; experiments leave it to the machine, the model and the task by now.
    now = base.to_dict(config)
    for section, option, then in (
        ("train", "dropout_generator", ("threefry2x32",)), ("model", "scan", (True, False)),
        ("task", "batching", ("buckets",)),
    ):  # fmt: skip
        assert saved[section].pop(option) in then and now[section].pop(option) in ("counter", None, "auto")
    assert saved == now


def test_what_no_version_had_is_refused(tmp_path):
    values = json.loads((SAVED / "bert_base.json").read_text())
    values["objective"]["mask_rat"] = 0.2
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="objective.mask_rat is not an option"):
        base.load(tmp_path / "config.json")
