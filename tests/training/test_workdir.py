"""A run's directory: its config.json is what the checkpoints say, whatever happened to the file."""

import contextlib
import json
import types

import pytest

from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training import checkpoint, runs
from cloze.training.workdir import Workdir


def run_of(path, step, **seal):
    """(configuration, directory) of a run whose checkpoint of a step holds no arrays."""
    config = base.get_base()
    config.model.heads = 4
    (path / "checkpoints" / str(step)).mkdir(parents=True)
    checkpoint.seal(path / "checkpoints" / str(step), {"step": step, "config": base.to_dict(config), **seal})
    (path / "config.json").write_text(json.dumps(base.to_dict(config)))
    return config, path


def edit(path, section, **values):
    settings = json.loads((path / "config.json").read_text())
    settings[section].update(values)
    (path / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "step, section, key", [(2, "model", "heads"), (2, "data", "sequence_length"), (0, "model", "heads")]
)
def test_a_changed_config_is_named(step, section, key, tmp_path):
    _, path = run_of(tmp_path, step)
    edit(path, section, **{key: 8})
    with pytest.raises(
        ConfigError, match=f"{path}/config.json is not.* step {step} .{section}.{key}: .* there, 8 now.*: undo"
    ):
        runs.load_config(path)


def test_how_a_run_goes_on_and_where_things_are_may_change(tmp_path):
    _, path = run_of(tmp_path, 2)
    edit(path, "train", steps=7)
    edit(path, "init", checkpoint="moved")
    edit(path, "model", dtype="bfloat16")
    assert runs.load_config(path).train.steps == 7


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model": 3}', "\udcff"])
def test_a_lost_config_is_written_anew_by_the_run_and_by_no_other(content, tmp_path):
    config, path = run_of(tmp_path, 2)
    (path / "config.json").unlink()
    if content is not None:
        (path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigError, match=f"{path}/? ?.*(config.json is|holds no run)"):
        runs.load_config(path)
    other = base.get_base()
    other.model.heads = 2
    with pytest.raises(ConfigError, match="another configuration .model.heads: 4 there, 2 now"):
        with contextlib.closing(Workdir(path, base.to_dict(other))) as workdir:
            workdir.open()
    workdir = Workdir(path, base.to_dict(config))
    workdir.open()
    workdir.keep_config()
    workdir.close()
    assert runs.load_config(path).model.heads == 4


def test_parameters_are_not_read_with_another_tokenizer():
    seal = {"step": 3, "tokenizer": "a" * 64}
    checkpoint.check_tokenizer(seal, types.SimpleNamespace(hash="a" * 64))
    with pytest.raises(ConfigError, match="step 3 had another tokenizer .hash aaaaaaaaaaaa, this one bbbb"):
        checkpoint.check_tokenizer(seal, types.SimpleNamespace(hash="b" * 64))


def test_a_changed_seal_is_damage(tmp_path):
    _, path = run_of(tmp_path, 2, tokenizer="abc")
    checkpoints, file = checkpoint.Checkpoints(path / "checkpoints"), path / "checkpoints" / "2" / checkpoint.SEAL
    assert checkpoints.problem(2) is None
    file.write_text(file.read_text().replace('"abc"', '"abd"'))
    assert "seal.json is damaged (its checksum differs" in checkpoints.problem(2)
    file.write_text('{"step": 2, "hashes": {}, "tokenizer": "abd"}')  # of an earlier version
    assert checkpoints.problem(2) is None
    (path / "checkpoints" / "2").rename(path / "checkpoints" / "4")
    assert checkpoints.problem(4) == "its seal.json is of step 2"


def start(path, config, *allow):
    """The lines on what has changed, after a start that writes config.json."""
    with contextlib.closing(Workdir(path, base.to_dict(config), allow)) as workdir:
        workdir.open()
        workdir.keep_config()
        return workdir.changed


def changed(config, **values):
    made = base.from_dict(base.to_dict(config), "made")
    for key, value in values.items():
        *path, last = key.split("__")
        (made[path[0]] if path else made)[last] = value
    return made


@pytest.mark.parametrize(
    "values",
    [
        dict(train__steps="3 epochs", train__log_every=7, train__eval_every=9, train__microbatches=2),
        dict(mesh__fsdp=2, checkpoint__keep=5, devices=8, model__remat="full", optimizer__decay_steps=10),
    ],
)
def test_a_resume_may_change_how_long_where_and_what_is_told(values, tmp_path):
    config, path = run_of(tmp_path, 2)
    lines = start(path, changed(config, **values))
    assert len(lines) == len(values) and any("at the last start" in line for line in lines)
    assert start(path, changed(config, **values)) == []


@pytest.mark.parametrize(
    "values",
    [dict(seed=1), dict(train__batch_size=8), dict(optimizer__learning_rate=1.0), dict(model__dtype="bfloat16")],
)
def test_any_other_change_is_refused_with_the_difference_unless_allowed(values, tmp_path):
    """Once allowed, the same command goes on without saying it again, and other verbs read the run."""
    config, path = run_of(tmp_path, 2)
    (key, value), other = next(iter(values.items())), changed(config, **values)
    key = key.replace("__", ".")
    with pytest.raises(ConfigError, match=f"{key}: .* there, {value!r} now.*--allow_changes={key} to"):
        start(path, other)
    assert start(path, other, key) and start(path, other) == []
    assert base.to_dict(runs.load_config(path)) == base.to_dict(other)
    with pytest.raises(ConfigError, match=f"{key}: {value!r} there"):
        start(path, config)


def test_a_section_may_be_allowed_and_what_is_no_option_may_not(tmp_path):
    config, path = run_of(tmp_path, 2)
    other = changed(config, optimizer__name="lion", optimizer__learning_rate=1.0)
    with pytest.raises(ConfigError, match="there is no such option or section; did you mean 'optimizer.learning_rate'"):
        start(path, other, "optimizer.learning_rat")
    assert len(start(path, other, "optimizer")) > 2
    (path / "allowed_changes.json").write_text("{}")
    with pytest.raises(ConfigError, match="allowed_changes.json is damaged"):
        start(path, other)
