"""Every finetuning experiment with every method: it loads, survives JSON, fits its task, and is what its text says."""

import importlib
import json
import pathlib
import re

import pytest

from cloze import tasks
from cloze.configs import base
from cloze.data.durations import to_steps
from cloze.errors import ConfigError
from cloze.training import methods, resolve
from cloze.training.schedules import make_schedule
from tests.configs import test_configs
from tests.tasks.conftest import documents  # noqa: F401, a fixture

ROOT = pathlib.Path(__file__).parents[2]
STEMS = sorted(path.stem for path in (ROOT / "configs" / "finetune").glob("*.py") if path.stem != "__init__")
KINDS = {  # what each is for: task.kind
    "choose": "choice", "classify": "class", "embed": "embedding", "private": "class", "respond": "text",
    "span": "span", "tag": "tag", "text_to_text": "text",
}  # fmt: skip
CASES = [(stem, method) for stem in STEMS for method in methods.METHODS]
EPOCH = 100


def load(stem, arguments=""):
    return importlib.import_module(f"cloze.configs.finetune.{stem}").get_config(arguments)


def steps(config, option):
    section, field = option.split(".")
    return to_steps(
        config[section][field], name=option, batch_size=config.train.batch_size,
        tokens_per_row=config.data.sequence_length, steps_per_epoch=EPOCH,
    )  # fmt: skip


def test_every_file_is_here_and_is_no_pretraining():
    assert STEMS == sorted(KINDS)
    assert not set(STEMS) & set(test_configs.STEMS) and "finetuning" not in test_configs.STEMS


@pytest.mark.parametrize("stem, method", CASES)
@pytest.mark.parametrize("tiny", ["", "tiny,"])
def test_every_method_loads_and_is_the_same_after_json(stem, method, tiny, tmp_path):
    config = load(stem, f"{tiny}method={method}")
    assert (config.name, config.finetune.method, config.init.inherit) == (stem, method, True)
    methods.check(config)
    with pytest.raises(ConfigError, match="init.inherit=True needs init.checkpoint"):
        base.check(config)
    config.init.checkpoint = "runs/bert"
    base.check(config)
    (tmp_path / "config.json").write_text(json.dumps(base.to_dict(config)))
    again = base.load(tmp_path / "config.json")
    assert base.to_dict(again) == base.to_dict(config) and again.finetune == config.finetune
    o, length = config.optimizer, steps(config, "train.steps")
    assert o.decay_steps is None  # a run that is made longer has a schedule as long
    rate = make_schedule(
        o.schedule, o.learning_rate, warmup_steps=steps(config, "optimizer.warmup_steps"),
        decay_steps=length, final_fraction=o.final_fraction,
    )  # fmt: skip
    assert 0 < float(rate(length // 2)) <= o.learning_rate * (1 + 1e-6)
    assert config.checkpoint.keep >= 1 and steps(config, "train.eval_every") <= length


@pytest.mark.parametrize("method", methods.METHODS)
def test_the_rate_is_that_of_the_method(method):
    """Small new parts need larger rates than a whole model."""
    full, tiny = load("classify", f"method={method}"), load("classify", f"tiny,method={method}")
    assert full.optimizer.learning_rate == methods.METHODS[method].rate
    assert tiny.optimizer.learning_rate == methods.METHODS[method].tiny_rate
    if method in ("lora", "adapters", "prefix", "prompt", "p_tuning", "bitfit", "linear_probe"):
        assert full.optimizer.learning_rate > load("classify").optimizer.learning_rate


def test_gradual_unfreezing_is_that_of_ulmfit():
    config = load("classify", "method=gradual")
    o = config.optimizer
    assert (o.schedule, o.final_fraction, o.layer_decay) == ("slanted_triangular", 1 / 32, 1 / 2.6)
    assert steps(config, "optimizer.warmup_steps") == 0.1 * steps(config, "train.steps")


@pytest.mark.parametrize("stem", STEMS)
def test_it_is_resolved_with_its_task(stem, documents):  # noqa: F811
    config = load(stem, "tiny" if stem != "choose" else "tiny,task=hellaswag")
    config.init.inherit = False
    found = resolve.resolve(config)
    assert found.task.kind == KINDS[stem]
    if found.task.kind in ("class", "tag"):
        assert found.model.num_labels == len(tasks.get(found.task.name).labels()) > 1
    assert base.to_dict(resolve.resolve(found)) == base.to_dict(found)


@pytest.mark.parametrize("stem", STEMS)
def test_documentation_gives_commands_that_load(stem):
    doc = importlib.import_module(f"cloze.configs.finetune.{stem}").__doc__.replace("\\\n", " ")
    commands = re.findall(r"^    (python train\.py .*)$", doc, re.MULTILINE)
    assert len(commands) >= 2 and ("Published" in doc or stem == "private")
    for command in commands:
        assert "--config.init.checkpoint=" in command
        path, _, arguments = re.search(r"--config=(\S+)", command)[1].partition(":")
        assert path == f"configs/finetune/{stem}.py"
        config = load(stem, arguments)
        name = config.task.name
        files = re.search(r"--config\.task\.files=(\S+)", command)
        for one in tasks.expand(name):
            tasks.get(one, files[1] if files else "")  # it exists
    assert any(":tiny" in command for command in commands) or stem == "choose"


@pytest.mark.parametrize("arguments, message", [
    ("method=lorra", "method='lorra' is unknown; did you mean 'lora'"),
    ("limit=few", "limit='few' is not a whole number"),
    ("methods=lora", "unknown config argument 'methods'; did you mean 'method'"),
    ("task=", "'task' needs a value"),
    ("gpt1=2", "'gpt1' is a switch"),
])  # fmt: skip
def test_bad_arguments_are_explained(arguments, message):
    with pytest.raises(ConfigError) as raised:
        load("classify", arguments)
    assert message in str(raised.value)


def test_arguments_reach_their_options():
    config = load("classify", "task=stsb,gpt1,limit=500,method=lora")
    assert (config.task.name, config.task.limit, config.finetune.method) == ("stsb", 500, "lora")
    assert config.task.markers and config.task.both_orders and config.objective.lm_weight == 0.5
    assert not load("classify", "task=sst2,gpt1").task.both_orders
    assert load("text_to_text", "task=sst2+mnli").task.name == "sst2,mnli"
    private = load("private", "noise=2.0,method=full")
    assert (private.finetune.dp_noise_multiplier, private.finetune.method) == (2.0, "full")
    assert load("private").finetune.method == "linear_probe" and load("private").finetune.feature_norm == "unit"
