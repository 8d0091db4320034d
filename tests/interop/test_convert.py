"""convert.py as a user meets it, and a run that goes on from converted parameters."""

import json
import runpy
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from cloze.configs import base
from cloze.data import tokenizers
from cloze.errors import CheckpointError, ConfigError
from cloze.models import names
from cloze.training import hugging_face, restore
from cloze.training.checkpoint import Checkpoints
from tests.interop import fakes
from tests.training import tiny_run
from tests.verbs import run


def quiet(line):
    pass


def make_source(path, class_name):
    """A tiny BERT and a tokenizer for the words of tests.training.tiny_run."""
    text = [" ".join(tiny_run.WORDS)] * 3
    tokenizer = tokenizers.train(text, "wordpiece", 97, lowercase=True, sentinels=0)
    tensors = fakes.write(path, "bert", class_name)
    (path / "tokenizer.json").write_bytes(tokenizer.model.content)
    return tensors, tokenizer


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """(path, tensors, tokenizer, what from_hf printed) of a converted BertForPreTraining."""
    path = tmp_path_factory.mktemp("convert")
    tensors, tokenizer = make_source(path / "source", "BertForPreTraining")
    told = run("convert", "from_hf", f"--source={path / 'source'}", f"--workdir={path / 'run'}")
    assert told.returncode == 0, told.stderr
    return path, tensors, tokenizer, told.stdout


def test_there_and_back(converted):
    path, tensors, tokenizer, printed = converted
    assert "BertForPreTraining" in printed and f"{len(tensors)} tensors" in printed
    told = run("convert", "to_hf", f"--workdir={path / 'run'}", f"--target={path / 'back'}")
    assert told.returncode == 0, told.stderr
    back = load_file(path / "back" / "model.safetensors")
    assert {n: a.tobytes() for n, a in back.items()} == {n: a.tobytes() for n, a in tensors.items()}
    assert json.loads((path / "back" / "config.json").read_text())["architectures"] == ["BertForPreTraining"]
    again = tokenizers.load(path / "back" / "tokenizer.json")
    np.testing.assert_array_equal(again.encode("the array"), tokenizer.encode("the array"))


def test_how_to_generate_goes_back_without_a_tokenizer_too(tmp_path):
    fakes.write(tmp_path / "source", "gpt2", "GPT2LMHeadModel", keys={"eos_token_id": [5, 6]})
    (tmp_path / "source" / "generation_config.json").write_text('{"top_p": 0.5}')
    hugging_face.from_hf(tmp_path / "source", tmp_path / "run", report=quiet)
    hugging_face.to_hf(tmp_path / "run", tmp_path / "back", report=quiet)
    assert (tmp_path / "back" / "generation_config.json").read_text() == '{"top_p": 0.5}'
    assert json.loads((tmp_path / "back" / "config.json").read_text())["eos_token_id"] == [5, 6]


def test_generate_reads_it(converted):
    path = converted[0]
    told = run("generate", f"--workdir={path / 'run'}", "--prompt=the [MASK] array")
    assert told.returncode == 0, told.stderr
    assert "blank 1:" in told.stdout


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "a verb is missing"),
        (["from_fh"], 2, "did you mean 'from_hf'"),
        (["from_hf", "--workdir=x"], 2, "needs --source"),
        (["from_hf", "--source=nowhere", "--workdir=x"], 3, "nowhere is not a directory"),
        (["to_sentence_transformers", "--workdir=x"], 2, "needs --target"),
    ],
)
def test_messages_and_exit_codes(arguments, code, message):
    told = run("convert", *arguments)
    assert told.returncode == code and message in told.stderr and "Traceback" not in told.stderr


def test_a_full_workdir_is_left_alone(converted):
    path = converted[0]
    with pytest.raises(ConfigError, match="not empty"):
        hugging_face.from_hf(path / "source", path / "run", quiet)


def tiny_config(workdir, root):
    """What `--config=<workdir>/config.py` gives, with text to train on."""
    c = base.load(workdir / "config.json")
    c.data.source, c.data.cache_dir = f"text:{root}/text/*.txt", str(root / "cache")
    c.data.validation_share, c.data.sequence_length, c.train.batch_size = 0.2, 24, 8
    c.train.steps, c.optimizer.warmup_steps, c.optimizer.learning_rate = 4, 1, 1e-2
    return c


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("text")
    tiny_run.write_text(path / "text", documents=30)
    return path


def test_training_goes_on_from_it_with_a_fresh_optimizer(converted, root):
    path = converted[0]
    config = tiny_config(path / "run", root)
    program = tiny_run.build(config, tokenizer=path / "run" / "tokenizer")
    checkpoints = Checkpoints(path / "run" / "checkpoints")
    assert checkpoints.latest_whole() == 0 and not checkpoints.has("optimizer", 0)
    state = program.restore(checkpoints, 0)
    checkpoints.close()
    expected = names.flatten(restore.load(path / "run").params)
    got = tiny_run.parameters(program, state)
    for name, leaf in expected.items():
        np.testing.assert_array_equal(got[name], leaf, err_msg=name)
    state, history = tiny_run.run(program, 2, state)
    assert all(np.isfinite(step["loss"]) for step in history) and int(state.step) == 2


def test_heads_that_no_objective_scores_stay(tmp_path, root):
    """A BertModel gets a fresh head for masked tokens; its pooler is carried along, frozen."""
    tensors, _ = make_source(tmp_path / "source", "BertModel")
    lines = []
    hugging_face.from_hf(tmp_path / "source", tmp_path / "run", lines.append)
    assert any("initialised at random" in line and "mlm_head" in line for line in lines)
    trained = restore.load(tmp_path / "run")
    assert set(trained.model.config.heads_out) == {"mlm", "pooler"}
    program = tiny_run.build(tiny_config(tmp_path / "run", root), tokenizer=tmp_path / "run" / "tokenizer")
    assert not any(mask.any() for name, mask in program.split.mask.items() if name.startswith("pooler/"))
    assert all(mask.all() for name, mask in program.split.mask.items() if not name.startswith("pooler/"))
    hugging_face.to_hf(tmp_path / "run", tmp_path / "back", report=quiet)
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {n: a.tobytes() for n, a in back.items()} == {n: a.tobytes() for n, a in tensors.items()}


def test_without_a_tokenizer_parameters_still_go_there_and_back(tmp_path):
    tensors = fakes.write(tmp_path / "source", "gpt2", "GPT2LMHeadModel", fakes.BFLOAT16)
    lines = []
    hugging_face.from_hf(tmp_path / "source", tmp_path / "run", lines.append)
    assert any(line.startswith("No tokenizer") for line in lines)
    hugging_face.to_hf(tmp_path / "run", tmp_path / "back", report=quiet)
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {n: (a.dtype, a.tobytes()) for n, a in back.items()} == {
        n: (a.dtype, a.tobytes()) for n, a in tensors.items()
    }


def test_a_classifier_answers_by_the_names_that_its_source_has(tmp_path):
    """And they stay when it goes back."""
    make_source(tmp_path / "source", "BertForSequenceClassification")
    file = tmp_path / "source" / "config.json"
    told = {"0": "not_entailment", "1": "ENTAILMENT"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"id2label": told}))
    hugging_face.from_hf(tmp_path / "source", tmp_path / "run", quiet)
    assert base.load(tmp_path / "run" / "config.json").task.labels == tuple(told.values())
    hugging_face.to_hf(tmp_path / "run", tmp_path / "back", report=quiet)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["id2label"] == told


def test_a_directory_of_any_name_is_no_code(tmp_path):
    make_source(tmp_path / "source", "BertModel")
    workdir = tmp_path / '"""; raise SystemExit("ran"); """'
    hugging_face.from_hf(tmp_path / "source", workdir, quiet)
    found = runpy.run_path(str(workdir / "config.py"))["get_config"]()
    assert base.to_dict(found) == json.loads((workdir / "config.json").read_text())


def test_train_py_goes_on_as_the_readme_says_and_refuses_another_model(tmp_path, root):
    tensors, _ = make_source(tmp_path / "source", "BertForMaskedLM")
    workdir = tmp_path / "run"
    hugging_face.from_hf(tmp_path / "source", workdir, quiet)
    before = (workdir / "config.json").read_text()
    told = run("train", "--config=configs/gpt2.py:tiny", f"--workdir={workdir}")
    assert told.returncode == 2 and "another configuration" in told.stderr
    assert (workdir / "config.json").read_text() == before

    text = [f"--config.data.source=text:{root}/text/*.txt", f"--config.data.cache_dir={root}/cache"]
    text += ["--config.data.validation_share=0.2", "--config.data.sequence_length=24", "--config.train.batch_size=8"]
    told = run("train", f"--config={workdir / 'config.py'}", f"--workdir={workdir}", "--config.train.steps=2", *text)
    assert told.returncode == 0 and "step 2/2" in told.stdout, told.stderr
    hugging_face.to_hf(workdir, tmp_path / "back", report=quiet)
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert set(back) == set(tensors) and any(not np.array_equal(back[name], tensors[name]) for name in back)


def test_parameters_that_were_lost_are_not_replaced_by_random_ones(converted, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(converted[0] / "run", path)
    (path / "checkpoints" / "0" / "seal.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint .* is whole"):
        Checkpoints(path / "checkpoints").latest_whole(quiet)


@pytest.mark.parametrize("model_type, class_name", [("xlnet", "XLNetLMHeadModel"), ("bart", "BartModel")])
def test_models_that_their_tokenizer_cannot_train_go_there_and_back_with_it(tmp_path, model_type, class_name):
    make_source(tmp_path / "bert", "BertModel")
    tensors = fakes.write(tmp_path / "source", model_type, class_name)
    shutil.copy(tmp_path / "bert" / "tokenizer.json", tmp_path / "source")
    hugging_face.from_hf(tmp_path / "source", tmp_path / "run", quiet)
    hugging_face.to_hf(tmp_path / "run", tmp_path / "back", report=quiet)
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {n: a.tobytes() for n, a in back.items()} == {n: a.tobytes() for n, a in tensors.items()}
    assert (tmp_path / "back" / "tokenizer.json").exists()
