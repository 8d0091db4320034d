"""Checkpoints: damage is found, an older whole one is used, and mistakes are named."""

import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze import storage
from cloze.errors import CheckpointError, ConfigError, WriteError
from cloze.training.checkpoint import SEAL, Checkpoints
from cloze.training.retention import Retention

PARAMS = {"encoder": {"kernel": jnp.arange(4096.0).reshape(64, 64)}, "head": {"bias": jnp.ones(3)}}


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


@pytest.fixture
def saved(tmp_path):
    """Three checkpoints, of which two are kept."""
    checkpoints = Checkpoints(tmp_path, Retention(2))
    for step in (1, 2, 3):
        params = jax.tree.map(lambda x, step=step: x + step, PARAMS)
        checkpoints.save(step, params, {"count": jnp.int32(step)}, {"tokenizer": "abc"})
    checkpoints.close()
    return tmp_path


def biggest_file(root):
    return max((p for p in root.rglob("*") if p.is_file() and p.name != SEAL), key=lambda p: p.stat().st_size)


def test_keeps_the_newest_and_restores_them(saved):
    checkpoints = Checkpoints(saved)
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.latest_whole() == 3
    assert checkpoints.read_seal(3)["tokenizer"] == "abc"
    parts = checkpoints.restore(3, params=abstract(PARAMS))
    np.testing.assert_array_equal(parts["params"]["encoder"]["kernel"], PARAMS["encoder"]["kernel"] + 3)
    assert int(checkpoints.restore(2, optimizer={"count": abstract(jnp.int32(0))})["optimizer"]["count"]) == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "unsealed"])
def test_damage_falls_back_to_the_older_one(saved, damage):
    file = biggest_file(saved / "3")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[:-5])
    elif damage == "delete":
        file.unlink()
    else:
        (saved / "3" / SEAL).unlink()
    messages = []
    assert Checkpoints(saved).latest_whole(messages.append) == 2
    assert "step 3" in messages[0]


def test_a_damaged_step_can_be_saved_again(saved):
    file = biggest_file(saved / "3")
    file.write_bytes(file.read_bytes()[:-1])
    checkpoints = Checkpoints(saved, Retention(2))
    checkpoints.set_aside_after(checkpoints.latest_whole(lambda line: None))
    assert checkpoints.steps() == [2]
    assert (saved / "damaged" / "3").is_dir()  # nothing is lost
    checkpoints.save(3, PARAMS, {"count": jnp.int32(3)}, {})
    checkpoints.close()
    assert checkpoints.latest_whole() == 3


def test_of_damaged_steps_the_newest_two_stay_in_one_place(saved):
    messages = []
    for step in (3, 4, 5, 3):
        checkpoints = Checkpoints(saved, Retention(2))
        if step > 3:
            checkpoints.save(step, PARAMS, None, {})
            checkpoints.close()
        elif messages:
            (saved / "3").mkdir()
        checkpoints.set_aside_after(2, messages.append)
    assert checkpoints.steps() == [2] and [line.split(" of step ")[1][0] for line in messages] == list("3453")
    assert sorted(path.name for path in (saved / "damaged").iterdir()) == ["3", "5"]
    assert messages[-1].endswith(str(saved / "damaged" / "3")) and not list(saved.parent.glob("*damaged-*"))


def full(path, value):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_an_older_one_goes_only_when_the_new_one_is_sealed(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, Retention(1))
    checkpoints.save(1, PARAMS, None, {})
    checkpoints.close()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_checked", full)  # the arrays are written, the seal is not
        checkpoints.save(2, PARAMS, None, {})
        with pytest.raises(WriteError, match="step 2 could not be written.*: No space left on device. Free"):
            checkpoints.close()
    assert checkpoints.latest_whole() == 1 and [path.name for path in tmp_path.iterdir()] != ["1"]
    checkpoints.clear_partial()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    checkpoints.save(2, PARAMS, None, {})
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == ["2"] and checkpoints.latest_whole() == 2


@pytest.mark.parametrize("lost", ["array", "seal"])
def test_no_whole_checkpoint_is_an_error_and_none_at_all_is_not(saved, tmp_path_factory, lost):
    for step in (2, 3):
        (biggest_file(saved / str(step)) if lost == "array" else saved / str(step) / SEAL).unlink()
    with pytest.raises(CheckpointError, match="step 3: .*step 2: .*backup"):
        Checkpoints(saved).latest_whole(lambda line: None)
    assert Checkpoints(tmp_path_factory.mktemp("empty")).latest_whole() is None


def test_a_reader_leaves_a_save_under_way_alone(saved):
    under_way = saved / "4.partial.orbax-checkpoint-tmp"
    under_way.mkdir()
    reader = Checkpoints(saved)
    reader.restore(reader.latest_whole(), params=abstract(PARAMS))
    reader.close()
    assert under_way.exists()


def test_another_model_is_named(saved):
    checkpoints = Checkpoints(saved)
    wider = {"encoder": {"kernel": jnp.zeros((64, 65))}, "head": {"bias": jnp.ones(3)}}
    with pytest.raises(ConfigError, match=r"encoder/kernel.*64.*another size"):
        checkpoints.restore(3, params=abstract(wider))
    with pytest.raises(ConfigError, match="another model"):
        checkpoints.restore(3, params=abstract({"decoder": PARAMS["encoder"]}))
    with pytest.raises(ConfigError, match="another optimizer"):
        checkpoints.restore(3, optimizer={"momentum": abstract(jnp.int32(0))})
