"""Checkpoints: damage is found, an older whole one is used, and mistakes are named."""

import errno
import os
import threading

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from cloze import storage
from cloze.errors import CheckpointError, ConfigError, WriteError
from cloze.training import checkpoint, new_run, restore
from cloze.training.checkpoint import SEAL, Checkpoints
from cloze.training.fingerprint import fingerprints
from cloze.training.retention import Best, Retention, Saved
from cloze.training.run import retention_of
from tests.training import tiny_run

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


def save(directory, step, retention=None, **meta):
    checkpoints = Checkpoints(directory, retention)
    checkpoints.save(step, PARAMS, None, meta)
    checkpoints.close()
    return checkpoints


def test_steps_at_multiples_and_the_best_stay_beside_the_newest(tmp_path):
    best = Best("validation/loss")
    losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.0, 5: 4.0, 6: None, 7: 5.0}
    for step, loss in losses.items():
        told = {} if loss is None else {"metrics": {"validation/loss": loss}}
        checkpoints = save(tmp_path, step, Retention(1, keep_every=3, best=best), **told)
    assert checkpoints.steps() == [3, 4, 6, 7]
    assert best.of(checkpoints.saved_steps()) == 4  # of equal ones the newest
    assert Best("validation/loss", highest=True).of(checkpoints.saved_steps()) == 7
    assert Best("validation/f1").of(checkpoints.saved_steps()) is None


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 60), st.one_of(st.none(), st.floats(0, 9))), unique_by=lambda pair: pair[0]),
    st.integers(1, 4), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 9)), st.booleans(),
)  # fmt: skip
def test_what_stays_as_one_would_write_it_down(pairs, keep, regular, keep_every, highest):
    saved = [Saved(step, {} if value is None else {"m": value}) for step, value in sorted(pairs)]
    wanted = {one.step for one in saved[-keep:]}
    wanted |= {one.step for one in saved if keep_every and one.step % keep_every == 0}
    wanted |= set([one.step for one in saved if one.step % regular == 0][-1:])
    values = [one.metrics["m"] for one in saved if one.metrics]
    if values:
        ideal = max(values) if highest else min(values)
        wanted.add([one.step for one in saved if one.metrics.get("m") == ideal][-1])
    assert Retention(keep, regular, keep_every, Best("m", highest)).kept(saved) == wanted


def test_one_save_is_in_flight_and_the_next_waits_for_it(tmp_path, monkeypatch):
    """So that the host holds one copy of the state at most."""
    begun, go_on, seal = threading.Event(), threading.Event(), checkpoint.seal

    def slow(root, meta):
        begun.set()
        assert go_on.wait(30)
        seal(root, meta)

    monkeypatch.setattr(checkpoint, "seal", slow)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, PARAMS, None, {})
    assert begun.wait(30)
    checkpoints.check()  # waits for nothing
    assert checkpoints.steps() == []
    second = threading.Thread(target=checkpoints.save, args=(2, PARAMS, None, {}))
    second.start()
    second.join(0.2)
    assert second.is_alive() and not list(tmp_path.glob("2*"))
    go_on.set()
    second.join(30)
    checkpoints.close()
    assert checkpoints.steps() == [1, 2]


def test_a_failed_save_is_told_at_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "write_checked", full)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, PARAMS, None, {})
    checkpoints._thread.join()
    with pytest.raises(WriteError, match="step 1 could not be written"):
        checkpoints.check()
    checkpoints.check()  # once


def test_values_that_change_between_the_files_and_the_devices_are_found(saved, monkeypatch):
    """Files are whole, yet what is in memory is not what was saved: a fault of memory, or of what reads."""
    load = checkpoint.ocp.load_checkpointables

    def faulty(*arguments):
        found = load(*arguments)
        kernel = found["params"]["encoder"]["kernel"]
        found["params"]["encoder"]["kernel"] = kernel.at[3, 5].set(jnp.nextafter(kernel[3, 5], 1e9))
        return found

    checkpoints = Checkpoints(saved)
    assert checkpoints.problem(3) is None
    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", faulty)
    with pytest.raises(CheckpointError, match="other values than were saved, in 1 of 2 .*encoder/kernel.*run again"):
        checkpoints.restore(3, params=abstract(PARAMS))


def test_fingerprints_are_the_same_on_any_devices_and_differ_by_any_bit():
    array = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    mesh = jax.make_mesh((4, 2), ("a", "b"))
    cut = jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("a", "b")))
    flipped = array.copy()
    flipped.view(np.uint32)[7, 5] ^= 1 << 31
    swapped = array[::-1]
    numbers = [int(fingerprints([one])[0]) for one in map(jnp.asarray, (array, flipped, swapped))]
    assert int(fingerprints([cut])[0]) == numbers[0] and len(set(numbers)) == 3
    places = np.arange(array.size, dtype=np.uint64).reshape(array.shape)
    assert numbers[0] == int(np.sum(array.view(np.uint32).astype(np.uint64) * (2 * places + 1)) % 2**32)
    for other in (jnp.bfloat16(1.5), jnp.int32(-3), jnp.array([True, False]), jnp.zeros((0, 3))):
        assert fingerprints([other]).shape == (1,)


def run_with_best(root):
    """A run's directory with checkpoints of three steps, of which the first is the best."""
    config = tiny_run.config("gpt2", root, checkpoint__best="validation/loss")
    program = tiny_run.build(config)
    workdir, losses = root / "with_best", {2: 1.0, 4: 2.0, 6: 3.0}
    if not workdir.exists():
        new_run.write(workdir, program.run.config, program.run.tokenizer, program.new_state().trainable, step=2)
        for step, loss in losses.items():
            (workdir / "checkpoints" / str(step)).exists() and storage.remove(workdir / "checkpoints" / str(step))
            params = jax.tree.map(lambda leaf, step=step: leaf + step, program.new_state().trainable)
            checkpoints = Checkpoints(workdir / "checkpoints")
            facts = {**program.run.facts(), "metrics": {"validation/loss": loss}}
            checkpoints.save(step, params, None, facts)
            checkpoints.close()
    return program, workdir


@pytest.mark.parametrize("which, step", [("newest", 6), ("best", 2), ("4", 4)])
def test_a_checkpoint_is_read_by_its_name(root, which, step):
    program, workdir = run_with_best(root)
    trained = restore.load(workdir, lambda line: None, which=which)
    start = tiny_run.parameters(program, program.new_state())
    assert trained.step == step
    np.testing.assert_array_equal(trained.params["token"]["embedding"], start["token/embedding"] + np.float32(step))
    config = tiny_run.config("gpt2", root, init__checkpoint=str(workdir), init__step=which, seed=1)
    begun, told = tiny_run.build(config), []
    state = begun.new_state(told.append)
    table = tiny_run.parameters(begun, state)["token/embedding"]
    np.testing.assert_array_equal(table, trained.params["token"]["embedding"])
    assert f"{workdir}, step {step}" in told[0]


@pytest.mark.parametrize(
    "which, message",
    [("3", "no whole checkpoint of step 3 .there is none.; its checkpoints: 2, 4, 6"), ("bets", "of step bets")],
)
def test_a_checkpoint_that_is_not_there_is_refused(root, which, message):
    _, workdir = run_with_best(root)
    with pytest.raises(ConfigError, match=message):
        restore.load(workdir, lambda line: None, which=which)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(checkpoint__best="loss"), "is not a metric of validation: write validation/loss"),
        (dict(checkpoint__best="validation/los"), "no metric of this run; did you mean 'validation/loss'"),
        (dict(checkpoint__best="validation/loss", checkpoint__every=4, train__eval_every=3), "multiple of the other"),
        (dict(checkpoint__keep_every=150), "keep_every comes to 150 steps and checkpoint.every to 100"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_training(root, changes, message):
    with pytest.raises(ConfigError, match=message):
        retention_of(tiny_run.build(tiny_run.config("gpt2", root, **changes)).run)
