"""Finetuned runs as ordinary ones, and LoRA as files of peft: nothing of what was learned is lost or changed."""

import dataclasses
import json

import numpy as np
import pytest

from cloze import interop
from cloze.configs.base import get_base
from cloze.errors import ConfigError, DataError
from cloze.models import names
from cloze.models.adapted import Adapted
from cloze.training import evaluation, hugging_face, merging, peft_files, restore, runs
from cloze.training.checkpoint import Checkpoints
from tests.training import finetuned, tiny_run, tiny_task

quiet = finetuned.quiet
PARTS = {  # method: what is changed, and a parameter that the merged model has by it
    "lora": ({}, "encoder/layers/attention/query/kernel"),
    "p_tuning": ({}, "encoder_prompt/embedding"),
    "adapters": ({}, "encoder/layers/ffn_adapter/down/kernel"),
    "linear_probe": (dict(finetune__feature_norm="standard", finetune__feature_size=8), "feature_transform/components"),
}


def assert_equal(got, expected):
    got, expected = names.flatten(got), names.flatten(expected)
    assert set(got) == set(expected)
    for name, leaf in expected.items():
        np.testing.assert_array_equal(got[name], leaf, err_msg=name)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("adapters")
    tiny_run.write_text(path / "text")
    return path


@pytest.fixture(scope="module")
def origin(root):
    return finetuned.pretrained(root, root / "origin")


@pytest.fixture(scope="module")
def lora(root, origin):
    """The directory of a run with LoRA."""
    return finetuned.finetuned(root, origin, root / "lora", "lora")[2]


@pytest.fixture(scope="module")
def written(root, lora):
    """The directory of peft that it comes to, and the run that this comes to."""
    peft_files.to_peft(lora, root / "peft", report=quiet)
    return root / "peft"


@pytest.fixture(scope="module")
def lora_merged(root, lora):
    """The run that it is merged into."""
    merging.merge(lora, root / "merged-lora", quiet)
    return root / "merged-lora"


@pytest.fixture(params=PARTS, scope="module")
def merged(request, root, origin, lora, lora_merged):
    """(method, run, the run that it is merged into)."""
    method, run = request.param, root / request.param
    if method == "lora":
        return method, lora, lora_merged
    finetuned.finetuned(root, origin, run, method, **PARTS[method][0])
    target = root / f"merged-{method}"
    merging.merge(run, target, quiet)
    return method, run, target


def test_a_merged_run_is_an_ordinary_one(merged, origin):
    method, run, target = merged
    config, before = runs.load_config(target), restore.load(run, quiet)
    after = restore.load(target, quiet)
    assert_equal(after.params, before.params)
    assert after.step == before.step == 3 and after.model.config == before.model.config
    assert config.finetune == get_base().finetune and config.init == get_base().init
    assert not isinstance(runs.make_model(target, config, after.tokenizer.tables), Adapted)
    part = PARTS[method][1]
    learned = np.asarray(names.flatten(after.params)[part])
    assert learned.any()
    if method == "lora":
        assert not np.array_equal(learned, names.flatten(restore.load(origin, quiet).params)[part])


@pytest.mark.parametrize("merged", ["adapters"], indirect=True)
def test_a_run_can_begin_with_a_merged_one(merged, root):
    _, _, target = merged
    program = finetuned.build(root, target, "full", seed=7)
    start = program.full_parameters(program.new_state(quiet))
    assert_equal(start, restore.load(target, quiet).params)


def test_scores_are_the_same(root, lora, lora_merged):
    found = []
    for run in (lora, lora_merged):
        asked = dict(split="validation", files=str(root / "task"), batch_size=12, report=quiet)
        result = evaluation.evaluate(restore.load(run, quiet), "jsonl:class", **asked)
        found.append((result.predictions, result.scores))
    assert found[0] == found[1] and len(found[0][0]) == tiny_task.COUNTS["validation"]


def test_what_transformers_can_hold_goes_there(lora_merged, tmp_path):
    hugging_face.to_hf(lora_merged, tmp_path / "hf", report=quiet)
    described = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert described["architectures"] == ["BertForSequenceClassification"]
    _, params = interop.load_hf(tmp_path / "hf")
    assert_equal(params, restore.load(lora_merged, quiet).params)


@pytest.mark.parametrize("merged", ["adapters"], indirect=True)
def test_what_transformers_cannot_hold_is_refused(merged, tmp_path):
    with pytest.raises(ConfigError, match="BertForSequenceClassification has no place for .*_adapter"):
        hugging_face.to_hf(merged[2], tmp_path / "hf", report=quiet)


def test_peft_there_and_back(lora, origin, written, tmp_path):
    told = json.loads((written / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(origin)
    assert told["auto_mapping"]["base_model_class"] == "BertForSequenceClassification"
    peft_files.from_peft(written, origin, tmp_path / "run", report=quiet)
    config, theirs = runs.load_config(tmp_path / "run"), runs.load_config(lora)
    assert config.finetune.method == "lora" and config.model.num_labels == 2 and config.task.kind == "class"
    assert (config.finetune.lora_rank, config.finetune.lora_alpha) == (2, 16.0)
    assert config.init.checkpoint == str(origin)
    before, after = restore.load(lora, quiet), restore.load(tmp_path / "run", quiet)
    assert_equal(after.params, before.params)
    inference = dataclasses.replace(after.model.config, head_dropout=before.model.config.head_dropout)
    assert inference == before.model.config and after.tokenizer.hash == before.tokenizer.hash
    old, new = Checkpoints(lora / "checkpoints"), Checkpoints(tmp_path / "run" / "checkpoints")
    assert new.read_seal(0)["base"] == old.read_seal(3)["base"]
    # Training goes on from it: its checkpoint is of the shapes that train, without an optimizer's state.
    config.task.name, config.task.files, config.train.batch_size = "jsonl:class", theirs.task.files, 8
    config.data.cache_dir, config.train.steps = theirs.data.cache_dir, 5
    program = tiny_run.build(config, tokenizer=tmp_path / "run" / "tokenizer")
    params = new.restore(0, params=program.abstract_state.trainable)["params"]
    assert {name.split("/")[0] for name in names.flatten(params)} == {"lora", "pooler", "classifier"}
    assert not new.has("optimizer", 0)
    for checkpoints in (old, new):
        checkpoints.close()


def test_on_top_of_a_hugging_face_directory(lora, origin, written, tmp_path):
    hugging_face.to_hf(origin, tmp_path / "hf", report=quiet)
    peft_files.from_peft(written, tmp_path / "hf", tmp_path / "run", report=quiet)
    assert_equal(restore.load(tmp_path / "run", quiet).params, restore.load(lora, quiet).params)


def test_what_is_not_peft_or_does_not_fit_is_refused(root, origin, written, tmp_path):
    with pytest.raises(ConfigError, match="already and not empty"):
        peft_files.from_peft(written, origin, origin, report=quiet)
    with pytest.raises(DataError, match="adapter_config.json"):
        peft_files.from_peft(origin, origin, tmp_path / "run", report=quiet)
    with pytest.raises(ConfigError, match="nowhere holds no run"):
        peft_files.from_peft(written, tmp_path / "nowhere", tmp_path / "run", report=quiet)
    config = json.loads((origin / "config.json").read_text())
    config["model"]["width"] = 16
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text(json.dumps(config))
    (tmp_path / "small" / "tokenizer").symlink_to(origin / "tokenizer")
    with pytest.raises(ConfigError, match=r"expected A \[rank, 16\]"):
        peft_files.from_peft(written, tmp_path / "small", tmp_path / "run", report=quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(finetune__method="bitfit"), "finetune.method=bitfit, to_peft writes lora: merge it instead"),
        (dict(finetune__also=("token/.*",)), "has also trained token, for which peft has no place"),
        (dict(model__vocab_size=300), "such as new rows of the vocabulary"),
        (dict(init__checkpoint=""), "is not LoRA on top of one model that init.checkpoint names"),
    ],
)
def test_what_peft_has_no_place_for(lora, tmp_path, monkeypatch, changes, message):
    load, config = runs.load_config, runs.load_config(lora)
    for key, value in changes.items():
        section, field = key.split("__")
        config[section][field] = value
    trained_so = lambda workdir: config if workdir == tmp_path else load(workdir)  # noqa: E731
    monkeypatch.setattr(runs, "load_config", trained_so)
    for part in ("config.json", "tokenizer", "checkpoints"):
        (tmp_path / part).symlink_to(lora / part)
    with pytest.raises(ConfigError, match=message):
        peft_files.to_peft(tmp_path, tmp_path / "out", report=quiet)
    assert not (tmp_path / "out").exists()


def test_a_full_directory_is_left_alone(lora, origin):
    with pytest.raises(ConfigError, match="already and not empty"):
        merging.merge(lora, origin, quiet)
