"""Checkpoints that hold only what trained: the rest is made again, bit by bit, or the run says why it cannot be."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from cloze import storage
from cloze.errors import ConfigError
from cloze.models import names
from cloze.training import checkpoint, initial, restore
from cloze.training.checkpoint import Checkpoints
from tests.training import finetuned, tiny_run

quiet = finetuned.quiet


def assert_equal(got, expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), jax.device_get(expected))


def reread(program, workdir, step=3):
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        return program.restore(checkpoints, step, quiet)
    finally:
        checkpoints.close()


def copied(lora, path):
    """(program, run, base) of which the base may be damaged."""
    _, _, workdir = lora
    origin, run = path / "origin", path / "run"
    file = json.loads((workdir / "config.json").read_text())
    shutil.copytree(file["init"]["checkpoint"], origin)
    shutil.copytree(workdir, run)
    file["init"]["checkpoint"] = str(origin)
    (run / "config.json").write_text(json.dumps(file))
    return run, origin


@pytest.fixture(scope="module")
def origin(root, tmp_path_factory):
    return finetuned.pretrained(root, tmp_path_factory.mktemp("small") / "origin")


@pytest.fixture(scope="module")
def lora(root, origin, tmp_path_factory):
    """(program, state, directory) of a run with LoRA after three steps."""
    program = finetuned.build(root, origin, "lora")
    state, _ = tiny_run.run(program, 3, program.new_state(quiet))
    workdir = finetuned.save(program, state, tmp_path_factory.mktemp("lora") / "run")
    return program, state, workdir


def test_it_holds_what_trains_and_names_the_rest(lora, origin):
    program, state, workdir = lora
    checkpoints = Checkpoints(workdir / "checkpoints")
    told = checkpoints.read_seal(3)["base"]
    assert told == [[str(origin), initial.RunOrigin(origin).identity()]]
    held = checkpoints.restore(3, params=program.abstract_state.trainable)["params"]
    checkpoints.close()
    assert_equal(held, state.trainable)
    tops = {name.split("/")[0] for name in names.flatten(held)}
    assert tops == {"lora", "pooler", "classifier"}


def test_resuming_goes_on_to_the_bit(root, origin, lora):
    program, state, workdir = lora
    again = finetuned.build(root, origin, "lora")
    resumed = reread(again, workdir)
    assert_equal(resumed, state)
    # A step donates its state: both come from the checkpoint and the state of now.
    continued, _ = tiny_run.run(program, 2, jax.tree.map(lambda leaf: leaf.copy(), state), start=3)
    resumed, _ = tiny_run.run(again, 2, resumed, start=3)
    assert_equal(resumed, continued)


def test_other_verbs_see_the_merged_model(lora):
    program, state, workdir = lora
    trained = restore.load(workdir, quiet)
    expected = program.model.merge(program.full_parameters(state))
    assert not any(name.startswith("lora/") for name in names.flatten(trained.params))
    assert jax.tree.structure(trained.params) == jax.tree.structure(expected)
    assert_equal(trained.params, expected)


def test_its_size(lora, origin):
    """On disk, less what each directory has of names and places of arrays, however small they are."""

    def size(workdir):
        files = (workdir / "checkpoints" / "3").rglob("d/*")
        return sum(path.stat().st_size for path in files if path.parent.parent.name.startswith("ocdbt"))

    assert 0 < size(lora[2]) < 0.15 * size(origin)


def test_a_changed_base_is_refused(root, lora, tmp_path):
    run, origin = copied(lora, tmp_path)
    damaged = origin / "checkpoints" / "3"
    (damaged / "params" / "more").write_text("other parameters")
    checkpoint.seal(damaged, {"step": 3, "optimizer": True})  # as training would have left it
    with pytest.raises(ConfigError, match=r"run hold only what trained on top of .*/origin has changed since"):
        restore.load(run, quiet)
    program = finetuned.build(root, origin, "lora")
    with pytest.raises(ConfigError, match="has changed since"):
        reread(program, run)


def test_a_missing_base_is_refused_and_a_moved_one_can_be_named(lora, tmp_path, monkeypatch):
    run, origin = copied(lora, tmp_path)
    file, seal = run / "config.json", run / "checkpoints" / "3" / "seal.json"
    told = storage.read_checked(seal)
    told["base"][0][0] = str(origin)
    storage.write_checked(seal, told)
    moved = origin.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"origin is missing: bring it back, or name its new place in .*config.json"):
        restore.load(run, quiet)
    config = json.loads(file.read_text())
    config["init"]["checkpoint"] = str(moved)
    file.write_text(json.dumps(config))
    restore.load(run, quiet)
    config["init"]["checkpoint"] = ""
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="names 0 such origins"):
        restore.load(run, quiet)
    # A relative place is of the directory that train.py ran in: elsewhere, the absolute one counts.
    moved.rename(origin)
    config["init"]["checkpoint"] = "origin"
    file.write_text(json.dumps(config))
    monkeypatch.chdir(pathlib.Path("/"))
    restore.load(run, quiet)


def test_a_run_in_its_second_stage(root, lora, tmp_path):
    _, origin = copied(lora, tmp_path)
    changes = dict(finetune__save="trainable", finetune__unfreeze_every=2)
    program = finetuned.build(root, origin, "gradual", **changes)
    again = finetuned.build(root, origin, "gradual", **changes)
    state, identity = program.new_state(quiet), initial.RunOrigin(origin).identity()
    away = origin.rename(tmp_path / "away")  # who trains on has read it, and says what it was
    program, state = program.enter(1, state)
    assert program.stage == 1 and program.run.facts()["base"] == [[str(origin), identity]]
    state = finetuned.moved(program, state)
    workdir = finetuned.save(program, state, tmp_path / "gradual")
    away.rename(origin)
    assert_equal(reread(again.run.program(1), workdir), state)
    assert_equal(restore.load(workdir, quiet).params, program.full_parameters(state))


def test_a_run_can_begin_with_one(root, lora):
    _, _, workdir = lora
    program = finetuned.build(root, workdir, "bitfit", seed=4)
    start = names.flatten(program.full_parameters(program.new_state(quiet)))
    assert_equal(start, names.flatten(restore.load(workdir, quiet).params))
