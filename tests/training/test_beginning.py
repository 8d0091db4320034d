"""Finetuning begins with what came before it: a Hugging Face directory or a run; what is new is told."""

import json
import re

import numpy as np
import pytest

from cloze import interop
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models import names
from tests.interop import fakes
from tests.interop.test_tokenizers import put
from tests.training import tiny_run, tiny_task
from tests.training.test_initial import save
from tests.training.tiny_task import parameters

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK]".split() + tiny_run.WORDS


def finetuning(task_root, checkpoint, method="full", **changes):
    """A classifier on top of something, of which it has the shape and the tokenizer."""
    config = tiny_task.config("bert", task_root, method)
    config.model = base.get_base().model
    config.init.update(checkpoint=str(checkpoint), inherit=True)
    for key, value in changes.items():
        section, field = key.split("__")
        config[section][field] = value
    return config


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hugging_face")
    fakes.write(directory, "bert", "BertForPreTraining")
    put(directory, vocab__txt="\n".join(PIECES) + "\n")
    return directory


def test_a_hugging_face_directory_gives_its_parameters_and_nothing_else(task_root, hugging_face):
    program = tiny_run.build(finetuning(task_root, hugging_face))
    told = []
    start = parameters(program, program.new_state(told.append))
    theirs = tiny_task.by_layer(names.flatten(interop.read_hf(hugging_face, report=lambda line: None).params))
    assert {name for name in start if name not in theirs} == {"classifier/kernel", "classifier/bias"}
    for name, array in start.items():
        if name in theirs:
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    text = "\n".join(told)
    assert f"From {hugging_face}: {len(program.run.shapes) - 2} of {len(program.run.shapes)} parameters" in text
    assert "not taken from it: classifier/bias, classifier/kernel" in text
    left = re.search("  left there: (.*)", text).group(1).split(", ")
    assert {name.split("/")[0] for name in left} == {"mlm_head", "nsp_head"}
    again = parameters(program, program.new_state(lambda line: None))
    np.testing.assert_array_equal(again["classifier/kernel"], start["classifier/kernel"])  # by the seed


def test_without_its_parameters_a_checkpoint_gives_the_shape_alone(task_root, hugging_face):
    config = finetuning(task_root, hugging_face)
    config.init.parameters = False
    program = tiny_run.build(config)
    assert program.run.donors == [] and program.run.shapes["token/embedding"][1] == 32
    start = parameters(program, program.new_state(lambda line: None))
    theirs = tiny_task.by_layer(names.flatten(interop.read_hf(hugging_face, report=lambda line: None).params))
    assert not np.array_equal(start["token/embedding"], theirs["token/embedding"])
    assert np.abs(start["token/embedding"]).max() < 0.1  # of deviation 0.02, and theirs is 1


@pytest.mark.parametrize("changes, message", [
    (dict(model__width=16), "has .* this model needs .* choose a model of the same size"),
    (dict(model__layers=3, init__rules=((r"encodr/.*", None), (r"(.*)", r"\1"))), "init.rules.*'encodr/.*' matches no"),
])  # fmt: skip
def test_a_hugging_face_directory_that_does_not_fit_is_refused(task_root, hugging_face, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_run.build(finetuning(task_root, hugging_face, **changes))


def test_a_hugging_face_directory_with_another_tokenizer_is_refused(task_root, hugging_face):
    config = tiny_task.config("bert", task_root, "full", init__checkpoint=str(hugging_face))
    with pytest.raises(ConfigError, match="another tokenizer than this run.*set init.inherit=True"):
        tiny_run.build(config)


def test_another_number_of_labels_is_refused_with_a_way_out(task_root, hugging_face, tmp_path):
    learned = tiny_run.build(finetuning(task_root, hugging_face))
    workdir = save(learned, tiny_task.any_state(learned), tmp_path / "run")
    again = finetuning(task_root, workdir)
    lines = [{"text": "a list", "label": label} for label in ("one", "two", "three")]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    again.task.files, again.train.batch_size = str(tmp_path), 2
    with pytest.raises(ConfigError, match=r"classifier/bias of shape \(2,\), this model needs \(3,\)"):
        tiny_run.build(again)
    again.init.rules = ((r"classifier/.*", None), *again.init.rules)
    program = tiny_run.build(again)
    plan = program.run.donors[0].plan(program.run.shapes, program.run.axis_names)
    assert set(program.run.shapes) - set(plan) == {"classifier/bias", "classifier/kernel"}


@pytest.mark.parametrize("multiple", [1, 8])
def test_a_vocabulary_grows_for_markers(multiple, task_root, tmp_path):
    """New rows are initialised, also where the old table had rows of padding in their place."""
    config = tiny_run.config("gpt2", task_root)
    size = tiny_run.build(config).run.tokenizer.vocab_size
    config.model.update(vocab_size=size, vocab_multiple=multiple)
    gpt = tiny_run.build(config)
    state = tiny_task.any_state(gpt)
    workdir = save(gpt, state, tmp_path / "gpt")
    grown = tiny_run.build(finetuning(task_root, workdir, task__markers=True, objective__lm_weight=0.5))
    assert grown.model.config.vocab_size == size + 3
    told = []
    start, old = parameters(grown, grown.new_state(told.append)), parameters(gpt, state)
    assert set(start) - set(old) == {"classifier/kernel"}
    for name, array in old.items():
        if name != "token/embedding":
            np.testing.assert_array_equal(start[name], array)
    table = start["token/embedding"]
    np.testing.assert_array_equal(table[:size], old["token/embedding"][:size])
    new = table[size : size + 3]
    assert new.any(axis=1).all() and np.abs(new).max() < 0.1 and not table[size + 3 :].any()
    assert f"  the vocabulary grows from {size} rows; the new ones are initialised" in told
    used = {int(t) for step in range(3) for t in np.unique(grown.run.data["train"].batches(step)["tokens"])}
    assert {size, size + 2} <= used  # START and EXTRACT


def test_a_smaller_vocabulary_is_refused(task_root, hugging_face):
    """Also where both tables are padded to the same number of rows."""
    with pytest.raises(ConfigError, match="a vocabulary of 97 rows, and model.vocab_size=72 has fewer"):
        tiny_run.build(finetuning(task_root, hugging_face, model__vocab_size=72))
    rules = ((r"token/.*", None), (r"(.*)", r"\1"))
    tiny_run.build(finetuning(task_root, hugging_face, model__vocab_size=72, init__rules=rules))


@pytest.mark.parametrize("method", ["lora", "adapters", "prefix", "prompt", "p_tuning", "linear_probe"])
def test_new_parts_are_told_as_new_and_all_else_comes_from_the_base(method, task_root, hugging_face):
    changes = dict(finetune__feature_norm="standard") if method == "linear_probe" else {}
    program = tiny_run.build(finetuning(task_root, hugging_face, method, **changes))
    (donor,) = program.run.donors
    new = set(program.run.shapes) - set(donor.plan(program.run.shapes, program.run.axis_names))
    tops = {
        "lora": "lora", "adapters": "encoder", "prefix": "encoder prefix", "prompt": "encoder_prompt",
        "p_tuning": "prompt", "linear_probe": "feature_transform",
    }  # fmt: skip
    assert {name.split("/")[0] for name in new} == {"classifier", *tops[method].split()}
    if method in ("adapters", "prefix"):
        assert all("adapter" in name or "prefix" in name or "classifier" in name for name in new)
