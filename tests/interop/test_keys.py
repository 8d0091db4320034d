"""Every key of a foreign JSON file has a declared type and range, and is held to them where it is read."""

import json
import math

import pytest

from cloze import interop
from cloze.errors import ConfigError
from cloze.interop import keys
from tests.interop import fakes

TABLE = {
    "size": keys.SIZE,
    "window": keys.key(int | None, least=0),
    "rotation": keys.Key({"theta": keys.POSITIVE}),
}


def test_null_says_nothing_unless_the_type_has_it():
    settings = keys.CheckedObject({"size": None, "window": None, "other": 1}, TABLE, "a.json")
    assert settings.get("size", 3) == 3 and "size" not in settings
    assert settings.get("window", 3) is None and dict(settings) == {"window": None}
    assert settings.replaced(size=7)["size"] == 7


def test_what_is_not_declared_is_not_read():
    with pytest.raises(LookupError, match="other is read, and not declared"):
        keys.CheckedObject({"other": 1}, TABLE, "a.json").get("other")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"size": True}, "a.json: size=True must be a whole number, at least 1"),
        ({"size": 0}, "a.json: size=0 must be at least 1"),
        ({"rotation": [1]}, r"a.json: rotation=\[1\] must be an object"),
        ({"rotation": {"theta": math.nan}}, "a.json: rotation: theta=nan must be a finite number, more than 0"),
    ],
)
def test_wrong_values_are_named(values, message):
    settings = keys.CheckedObject(values, TABLE, "a.json")
    with pytest.raises(ConfigError, match=message):
        [settings[name] and dict(settings[name]) for name in values]


@pytest.mark.parametrize(
    "model_type, class_name, key, value",
    [
        ("gpt2", "GPT2LMHeadModel", "n_layer", 10**9),
        ("gpt2", "GPT2LMHeadModel", "n_embd", "32"),
        ("gpt2", "GPT2LMHeadModel", "layer_norm_epsilon", math.nan),
        ("bert", "BertForMaskedLM", "id2label", 5),
        ("bert", "BertForMaskedLM", "architectures", [["BertForMaskedLM"]]),
        ("bert", "BertForMaskedLM", "model_type", ["bert"]),
        ("bert", "BertForMaskedLM", "hidden_act", {}),
        ("deberta-v2", "DebertaV2ForMaskedLM", "norm_rel_ebd", 3),
        ("llama", "LlamaForCausalLM", "rope_parameters", {"rope_type": "llama3", "factor": "8"}),
        ("roberta", "RobertaForMaskedLM", "pad_token_id", "1"),
        ("t5", "T5ForConditionalGeneration", "feed_forward_proj", None),
    ],
)
def test_config_json_of_wrong_types(tmp_path, model_type, class_name, key, value):
    fakes.write(tmp_path, model_type, class_name)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {key: value}))
    if value is None:  # as if the key were not there
        interop.load_hf(tmp_path)
        return
    with pytest.raises(ConfigError, match=f"config.json: .*{key if key != 'rope_parameters' else 'factor'}="):
        interop.load_hf(tmp_path)
