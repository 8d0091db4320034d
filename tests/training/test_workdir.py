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
