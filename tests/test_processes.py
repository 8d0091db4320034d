"""Two real processes, joined by jax.distributed over gloo, compute what one process computes.

Each of these takes seconds of several processes: `make processes` runs them all, `make test` the first.
"""

import json
import pathlib
import signal
import socket

import numpy as np
import pytest

from cloze import storage
from cloze.models import names
from cloze.parallel import processes
from cloze.training import restore
from cloze.training.checkpoint import Checkpoints
from tests import verbs
from tests.faults import CHAOS
from tests.training import finetuned, tiny_run

MORE = pytest.mark.skipif(not CHAOS, reason="a part of `make processes`")


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start_two(*arguments):
    return start_several(2, *arguments)


def start_several(count, *arguments, verb="train", without=()):
    """The processes of a run, but for those with some numbers."""
    port = free_port()
    joined = [f"--coordinator=localhost:{port}", f"--num_processes={count}"]
    numbers = [number for number in range(count) if number not in without]
    return [verbs.start(verb, *arguments, *joined, f"--process_id={number}") for number in numbers]


def ended(started, code=0):
    """[(standard output, errors)] of processes that end with a code."""
    results = [process.communicate(timeout=240) for process in started]
    for process, (_, errors) in zip(started, results, strict=True):
        assert process.returncode == code, errors
    return results


def losses(workdir):
    lines = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] != "goodput"]
    return [(line["step"], line["split"], line["loss"], line.get("grad_norm", 0.0)) for line in lines]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("processes")
    tiny_run.write_text(path / "text")
    return path


def test_two_processes_equal_one_and_resume_as_one(root):
    alone, together = root / "alone", root / "together"
    done = verbs.run("train", *verbs.small(root), f"--workdir={alone}")
    assert done.returncode == 0, done.stderr

    started = start_two(*verbs.small(root), f"--workdir={together}")
    results = ended(started)
    assert "on 2 cpu device(s)" in results[0][0]
    assert "step 1/" not in results[1][0]  # only the first process speaks
    one, two = losses(alone), losses(together)
    assert [line[:2] for line in two] == [line[:2] for line in one]
    for a, b in zip(one, two, strict=True):
        assert b[2:] == pytest.approx(a[2:], rel=1e-5)

    # What two processes saved, one process goes on with, as the one that was alone does.
    for workdir in (alone, together):
        resumed = verbs.run("train", *verbs.small(root), f"--workdir={workdir}", train__steps=5)
        assert resumed.returncode == 0 and "Resuming after step 4" in resumed.stdout, resumed.stderr
    one, two = losses(alone), losses(together)
    assert [line[:2] for line in two] == [line[:2] for line in one] and one[-1][0] == 5
    for a, b in zip(one, two, strict=True):
        assert b[2:] == pytest.approx(a[2:], rel=1e-5)


@MORE
def test_two_processes_go_on_with_what_one_has_gone_on_with(root):
    alone, together = root / "alone", root / "together"  # made above, by one process and by two and one
    longer = [*verbs.small(root), "--config.train.steps=7"]
    done = verbs.run("train", *longer, f"--workdir={alone}")
    assert done.returncode == 0, done.stderr
    (output, _), _ = ended(start_two(*longer, f"--workdir={together}"))
    assert "Resuming after step 5" in output
    one, two = losses(alone), losses(together)
    assert [line[:2] for line in two] == [line[:2] for line in one] and one[-1][0] == 7
    for a, b in zip(one, two, strict=True):
        assert b[2:] == pytest.approx(a[2:], rel=1e-5)


@MORE
def test_two_processes_score_as_one(root):
    files = [root / "alone.json", root / "together.json"]
    asked = ["eval", f"--workdir={root / 'alone'}", "--task=probes", "--batch_size=3"]  # made above
    done = verbs.run(*asked, f"--output={files[0]}")
    assert done.returncode == 0, done.stderr
    (first, _), (second, _) = ended(start_several(2, *asked[1:], f"--output={files[1]}", verb=asked[0]))
    assert "probes, validation" in first and "probes, validation" not in second
    one, two = (json.loads(file.read_text())["probes"] for file in files)
    assert one.keys() == two.keys() and len(one) > 2
    for metric, value in one.items():
        assert two[metric] == (None if value is None else pytest.approx(value, rel=1e-5)), metric


@MORE
@pytest.mark.parametrize("way", ["--num_samples=2", "--beams=3", "--stop=a"])
def test_two_processes_write_as_one(way, root):
    workdir, files = root / "gpt2", [root / f"{way}-{number}.jsonl" for number in range(2)]
    if not workdir.exists():
        program = tiny_run.build(tiny_run.config("gpt2", root))
        finetuned.save(program, program.new_state(finetuned.quiet), workdir)
    asked = ["generate", f"--workdir={workdir}", "--prompt=the list", "--prompt=a", "--max_tokens=6", way]
    done = verbs.run(*asked, f"--output={files[0]}")
    assert done.returncode == 0, done.stderr
    ended(start_several(2, *asked[1:], f"--output={files[1]}", verb=asked[0]))
    one, two = (list(map(json.loads, file.read_text().splitlines())) for file in files)
    assert [line["text"] for line in one] == [line["text"] for line in two] and len(one) >= 2


@MORE
def test_two_processes_fill_blanks_as_one(root):
    asked = ["generate", f"--workdir={root / 'alone'}", "--prompt=The [MASK] is [MASK]."]
    done = verbs.run(*asked)
    (first, _), (second, _) = ended(start_several(2, *asked[1:], verb=asked[0]))
    assert done.stdout.strip() in first and "blank 1" in first and "blank" not in second


@MORE
def test_processes_that_are_missing_are_named_by_all_that_are_there(root):
    arguments = [*verbs.small(root), f"--workdir={root / 'missing'}", "--start_timeout=5"]
    started = start_several(4, *arguments, without=(1, 2))
    for number, (_, errors) in zip((0, 3), ended(started, 75), strict=True):
        assert len(errors.splitlines()) == 1 and errors.startswith(f"train.py (process {number} of 4): "), errors
        assert "processes 1 and 2 of 4 did not come within 5 s" in errors
    assert not (root / "missing").exists()


@MORE
def test_two_processes_begin_from_another_run(root):
    source, workdir = root / "alone", root / "from"  # the first was made above
    taken = [f"--config.init.checkpoint={source}", f"--config.tokenizer.path={source}/tokenizer", "--config.seed=1"]
    # Cut over both processes, neither holds a whole parameter; a rate of 0 keeps them as they came.
    cut = [
        "--config.mesh.data=1",
        "--config.mesh.fsdp=2",
        "--config.train.steps=1",
        "--config.optimizer.learning_rate=0",
    ]
    started = start_two(*verbs.small(root), *taken, *cut, f"--workdir={workdir}")
    results = ended(started)
    assert f"From {source}, step" in results[0][0]
    theirs, ours = (names.flatten(restore.load(path).params) for path in (source, workdir))
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


@MORE
@pytest.mark.parametrize("count", [2, 4])
def test_a_directory_in_use_is_refused_by_all_processes_and_free_afterwards(count, root):
    workdir = root / "alone"  # made above, and finished
    with storage.lock(workdir / "lock", lambda: None):
        started = start_several(count, *verbs.small(root), f"--workdir={workdir}")
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 2 and "in use by another process" in errors, errors
    done = verbs.run("train", *verbs.small(root), f"--workdir={workdir}")
    assert done.returncode == 0 and "The run is finished" in done.stdout, done.stderr


@MORE
def test_what_only_the_first_process_sees_ends_both(root):
    workdir = root / "alone"  # made above, with another batch size
    started = start_two(*verbs.small(root), f"--workdir={workdir}", "--config.train.batch_size=8")
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2 and "batch_size" in errors, errors


@MORE
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_both_after_saving(number, root):
    """JAX's notice of preemption is SIGTERM, to which Ctrl-C is handed on."""
    workdir = root / f"stopped-{number}"
    started = start_two(*verbs.small(root), f"--workdir={workdir}", "--config.train.steps=100000")
    for line in started[0].stdout:
        if line.startswith("step 3/"):
            break
    started[1].send_signal(number)
    ended(started, 75)
    assert Checkpoints(workdir / "checkpoints").latest_whole() >= 3


@pytest.mark.parametrize(
    "text",
    [
        "UNKNOWN: Gloo all-reduce failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:8843",
        "INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat timeout.",
        "Timeout waiting at barrier '[op=3] create_directory:post'",
    ],
)
def test_an_error_of_a_lost_process_says_to_start_all_again(text, monkeypatch):
    assert processes.lost(RuntimeError(text)) is None  # there is no other process
    monkeypatch.setattr("jax.process_count", lambda: 2)
    message = processes.lost(RuntimeError(text))
    assert message.exit_code == 75 and "start all processes again" in str(message) and text[:20] in str(message)
    assert processes.lost(RuntimeError("INVALID_ARGUMENT: shapes differ")) is None
    assert Checkpoints("/none")._not_written(3, RuntimeError(text)).exit_code == 75


@pytest.mark.parametrize("name", ["heartbeat_timeout", "shutdown_timeout"])
def test_a_time_out_is_at_least_a_second(name):
    more = ["--coordinator=localhost:1", "--num_processes=2", "--process_id=0", f"--{name}=0"]
    done = verbs.run("train", "--config=configs/bert_base.py:tiny", *more)
    assert done.returncode == 2 and f"--{name}=0" in done.stderr, done.stderr
