"""Writing directories: what has no place is told or refused, and nothing half-written stays."""

import dataclasses
import json

import numpy as np
import pytest

from cloze import interop
from cloze.errors import ConfigError
from cloze.interop import settings, tokenizers
from tests.interop import fakes


def quiet(line):
    pass


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    fakes.write(path, "bert", "BertForMaskedLM")
    return interop.read_hf(path, heads=("sbo",), report=quiet)


def test_what_no_class_holds_is_left_out_and_told(bert, tmp_path):
    lines = []
    written = interop.save_hf(tmp_path / "out", bert.model.config, bert.params, report=lines.append)
    assert written.class_name == "BertForMaskedLM"
    assert written.left_out and all(name.startswith("sbo_head/") for name in written.left_out)
    assert any("sbo_head" in line for line in lines)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"norm_position": "pre"}, "model.norm_position='pre' cannot be written .* BertForMaskedLM computes 'post'"),
        ({"positions": "rotary"}, "model.positions='rotary'"),
        ({"window": 8}, "window=8 of layer 0"),
        ({"family": "coco_lm"}, "model.family=coco_lm"),
    ],
)
def test_a_model_that_transformers_does_not_know(bert, tmp_path, change, message):
    config = dataclasses.replace(bert.model.config, heads_out=("mlm",), **change)
    with pytest.raises(ConfigError, match=message if "positions" not in change else "positions"):
        interop.save_hf(tmp_path / "out", config, bert.params, report=quiet)
    assert not list(tmp_path.iterdir())


def test_targets_and_names(bert, tmp_path):
    config = bert.model.config
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        interop.save_hf(tmp_path / "full", config, bert.params, report=quiet)
    with pytest.raises(ConfigError, match="did you mean 'BertModel'"):
        interop.save_hf(tmp_path / "out", config, bert.params, class_name="BertModell", report=quiet)
    with pytest.raises(ConfigError, match="the model has no pooler/dense/bias, which BertModel needs"):
        interop.save_hf(tmp_path / "out", config, bert.params, class_name="BertModel", report=quiet)
    (tmp_path / "empty").mkdir()
    interop.save_hf(tmp_path / "empty", config, bert.params, report=quiet)
    assert (tmp_path / "empty" / "model.safetensors").exists()


def test_source_settings_go_back(tmp_path):
    labels = {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}, "pad_token_id": 3}
    fakes.write(tmp_path / "in", "bert", "BertForSequenceClassification", keys=labels)
    loaded = interop.read_hf(tmp_path / "in", report=quiet)
    interop.save_hf(tmp_path / "out", loaded.model.config, loaded.params, source_settings=loaded.settings, report=quiet)
    again = interop.read_hf(tmp_path / "out", report=quiet)
    assert {key: again.settings[key] for key in labels} == labels


def gpt2_tokenizer(directory, **files):
    words = {"vocab.json": {"a": 0, "<|endoftext|>": 1, "<|end|>": 2}, "config.json": {"model_type": "gpt2"}, **files}
    for name, content in words.items():
        (directory / name).write_text(json.dumps(content))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    return tokenizers.load_hf(directory)


def test_several_ends_and_the_way_to_generate_go_back(tmp_path):
    fakes.write(tmp_path / "in", "gpt2", "GPT2LMHeadModel", keys={"eos_token_id": [1, 2]})
    loaded = interop.read_hf(tmp_path / "in", report=quiet)
    told = {"eos_token_id": [2, 1], "top_p": 0.5}
    (tmp_path / "tokenizer").mkdir()
    config = json.loads((tmp_path / "in" / "config.json").read_text())
    tokenizer = gpt2_tokenizer(tmp_path / "tokenizer", **{"config.json": config, "generation_config.json": told})
    for source in (loaded.settings, None):  # a converted run, and one that was finetuned from the directory
        out = tmp_path / str(source is None)
        interop.save_hf(out, loaded.model.config, loaded.params, tokenizer, source_settings=source, report=quiet)
        assert json.loads((out / "config.json").read_text())["eos_token_id"] == [1, 2]
        assert json.loads((out / "generation_config.json").read_text()) == told
    interop.save_hf(
        tmp_path / "body", loaded.model.config, loaded.params, tokenizer, class_name="GPT2Model", report=quiet
    )
    assert not (tmp_path / "body" / "generation_config.json").exists()  # it does not write
    interop.save_hf(tmp_path / "bare", loaded.model.config, loaded.params, generation="{}", report=quiet)
    assert (tmp_path / "bare" / "generation_config.json").read_text() == "{}"


def test_a_run_that_never_had_a_way_to_generate_gets_transformers_own(tmp_path):
    fakes.write(tmp_path / "in", "gpt2", "GPT2LMHeadModel")
    loaded = interop.read_hf(tmp_path / "in", report=quiet)
    (tmp_path / "tokenizer").mkdir()
    tokenizer = gpt2_tokenizer(tmp_path / "tokenizer")
    interop.save_hf(tmp_path / "out", loaded.model.config, loaded.params, tokenizer, report=quiet)
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written == {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 1}


def test_names_of_labels_that_a_run_has_learned_are_written(tmp_path):
    fakes.write(tmp_path / "in", "bert", "BertForSequenceClassification")
    loaded = interop.read_hf(tmp_path / "in", report=quiet)
    learned = [f"word {number}" for number in range(loaded.model.config.num_labels)]
    for source in (None, loaded.settings):
        out = tmp_path / str(source is None)
        interop.save_hf(out, loaded.model.config, loaded.params, source_settings=source, labels=learned, report=quiet)
        written = json.loads((out / "config.json").read_text())
        assert settings.label_names(written) == tuple(learned)
        assert written["label2id"] == {name: number for number, name in enumerate(learned)}


@pytest.mark.parametrize("told, names", [
    ({"1": "yes", "0": "no"}, ("no", "yes")),
    ({"0": "LABEL_0", "1": "LABEL_1"}, ()),
    ({"0": "a", "1": "a"}, ()),
    ({"0": "a", "2": "b"}, ()),
    ({"0": "a", "1": 3}, ()),
    (["a"], ()),
    (None, ()),
])  # fmt: skip
def test_names_of_labels_are_known_where_each_number_has_one(told, names):
    assert settings.label_names({"id2label": told}) == names


def test_logits_ignore_padding(tmp_path):
    """Padding at either end changes nothing at real tokens (relative to the model's own rule of positions)."""
    fakes.write(tmp_path, "gpt2", "GPT2LMHeadModel")
    model, params = interop.load_hf(tmp_path)
    ids = np.random.default_rng(0).integers(5, 97, (2, 6))
    plain = interop.logits(model, params, ids, np.ones_like(ids))
    pad = np.full((2, 3), 7)
    mask = np.concatenate([np.zeros_like(pad), np.ones_like(ids)], axis=1)
    left = interop.logits(model, params, np.concatenate([pad, ids], axis=1), mask)
    np.testing.assert_allclose(left[:, 3:], plain, atol=1e-5)
    right = interop.logits(model, params, np.concatenate([ids, pad], axis=1), mask[:, ::-1])
    np.testing.assert_allclose(right[:, :6], plain, atol=1e-5)
    assert plain.shape == (2, 6, 97) and plain.dtype == np.float32


def test_logits_wants_what_the_model_reads(tmp_path):
    fakes.write(tmp_path, "t5", "T5ForConditionalGeneration")
    model, params = interop.load_hf(tmp_path)
    ids = np.ones((1, 4), int)
    with pytest.raises(ConfigError, match="needs decoder_token_ids"):
        interop.logits(model, params, ids, ids)
    with pytest.raises(ConfigError, match=r"\[1, 4\] and attention_mask \[1, 3\]"):
        interop.logits(model, params, ids, ids[:, :3], decoder_token_ids=ids)
