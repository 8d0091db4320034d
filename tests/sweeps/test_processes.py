"""How runs are started, how many at a time, and what becomes of those that stop, fail or are killed.

The processes are tests/sweeps/stand_in.py; test_sweep.py starts train.py.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import random
import signal
import threading
import time

import pytest

from cloze import cli, storage
from cloze.errors import Preempted
from cloze.sweeps import planned, processes, results
from cloze.sweeps.processes import BROKEN, FINISHED, UNFINISHED, State, state_of

STAND_IN = str(pathlib.Path(__file__).parent / "stand_in.py")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(cli, "local_program", lambda verb, checkout: (STAND_IN,))


def runs(*overrides):
    """Planned runs; "__" in a key is a dot."""
    runs = [{key.replace("__", "."): value for key, value in one.items()} for one in overrides]
    return planned.named([{"config": "configs/demo.py", **run} for run in runs])


def train(some, directory, parallel=1):
    lines = []
    processes.train(some, directory, parallel, lines.append, ended=lambda: None)
    return lines


def start(some, directory, parallel=1):
    """A process that trains some runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    process = context.Process(target=_train, args=(some, directory, parallel))
    process.start()
    return process


def _train(some, directory, parallel):
    cli.local_program = lambda verb, checkout: (STAND_IN,)
    train(some, directory, parallel)


def starts(directory, run):
    return len((directory / run.name / "starts").read_text())


def test_runs_come_in_their_order_and_say_how_they_ended(tmp_path):
    some = runs(dict(seed=0), dict(seed=1))
    lines = train(some, tmp_path)
    assert [line.partition(" after")[0] for line in lines] == [
        "seed=0: started", "seed=0: finished", "seed=1: started", "seed=1: finished",
    ]  # fmt: skip
    assert lines[1].endswith("validation loss 0.3333") and lines[3].endswith("validation loss 1.3333")
    assert [state_of(run, tmp_path) for run in some] == [State(FINISHED)] * 2


def test_as_many_as_are_asked_for_run_at_a_time(tmp_path):
    some = runs(*[dict(seed=seed, seconds=0.1) for seed in range(3)])
    lines = train(some, tmp_path, parallel=2)
    running, most = 0, 0
    for line in lines:
        running += 1 if line.endswith("started") else -1
        most = max(most, running)
    assert most == 2 and lines[0].endswith("started") and lines[1].endswith("started")


def test_one_that_fails_says_why_and_the_others_go_on(tmp_path):
    some = runs(dict(seed=0, fails=4), dict(seed=1))
    lines = train(some, tmp_path)
    assert "with exit code 4: it does not work" in lines[1] and "finished" in lines[3]
    assert state_of(some[0], tmp_path) == State(BROKEN, "it does not work", 4)
    (tmp_path / some[0].name / processes.FAILED).write_text("{")
    assert state_of(some[0], tmp_path) == State(UNFINISHED)


def test_what_others_begin_with_comes_first_and_once(tmp_path):
    base = {"config": "configs/demo.py", "seconds": 0.05}
    some = planned.with_bases(runs(*[dict(seed=seed, init__checkpoint=base) for seed in range(2)], dict(seed=2)))
    lines = train(some, tmp_path / "sweep", parallel=2)
    started = [line.partition(":")[0] for line in lines if line.endswith("started")]
    assert started[0] == some[0].name and started[1] == "seed=2"  # which need not wait
    assert lines.index(f"{some[1].name}: started") > [line.partition(" after")[0] for line in lines].index(
        f"{some[0].name}: finished"
    )
    assert starts(tmp_path / "bases", some[0]) == 1 and all(state_of(one, tmp_path / "sweep").status == FINISHED
                                                            for one in some)  # fmt: skip


def test_what_begins_with_one_that_fails_is_left_out(tmp_path):
    base = {"config": "configs/demo.py", "fails": 3}
    some = runs(*[dict(seed=seed, init__checkpoint=base) for seed in range(2)], dict(seed=2))
    everything = planned.with_bases(some)
    for waiting in (everything, some[:2]):  # at once, and by the next start
        lines = train(waiting, tmp_path / "sweep")
        assert sum("left out, because" in line for line in lines) == 2
    assert [state_of(one, tmp_path / "sweep").status for one in everything] == [BROKEN, *[UNFINISHED] * 2, FINISHED]


def test_a_signal_is_handed_on_and_all_of_them_save(tmp_path):
    some = runs(*[dict(seed=seed, train__steps=1000) for seed in range(3)])

    def interrupt():
        while not all((tmp_path / run.name / "checkpoints" / "2").is_dir() for run in some[:2]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Preempted, match="same command again"):
        train(some, tmp_path, parallel=2)
    assert [state_of(run, tmp_path).status for run in some] == [UNFINISHED] * 3
    assert (tmp_path / some[0].name / "checkpoints" / "2").is_dir() and not (tmp_path / some[2].name).exists()


def test_a_run_that_is_killed_is_left_to_the_next_start(tmp_path):
    (run,) = some = runs(dict(seed=0, train__steps=40, seconds=0.05))
    children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"

    def kill():
        while not (tmp_path / run.name / "checkpoints" / "3").is_dir():
            time.sleep(0.01)
        for child in pathlib.Path(children).read_text().split():
            if STAND_IN.encode() in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    lines = train(some, tmp_path)
    assert "interrupted" in lines[-1] and "killed by SIGKILL" in lines[-1]
    assert state_of(run, tmp_path) == State(UNFINISHED)
    assert "finished" in train(some, tmp_path)[-1] and starts(tmp_path, run) == 2


def test_what_a_killed_sweep_has_left_running_is_waited_for(tmp_path):
    """Its runs are told to stop, and the next sweep takes them up when they have."""
    (run,) = some = runs(dict(seed=0, train__steps=40, seconds=0.05))
    sweep = start(some, tmp_path)
    while not (tmp_path / run.name / "checkpoints" / "3").is_dir():
        time.sleep(0.01)
    assert storage.is_locked(tmp_path / run.name / "lock")
    sweep.kill()
    sweep.join()
    lines = train(some, tmp_path)
    assert "finished" in lines[-1] and starts(tmp_path, run) == 2
    assert [line["step"] for line in processes.history.read(tmp_path / run.name).lines["train"]] == list(range(1, 41))


def test_killed_again_and_again_a_sweep_ends_with_the_table_of_one_that_was_not(tmp_path):
    some = runs(*[dict(seed=seed, train__steps=steps, seconds=0.03) for steps in (4, 6) for seed in (0, 1)])
    train(some, tmp_path / "undisturbed", parallel=4)
    draw = random.Random(0)
    for _ in range(3):
        sweep = start(some, tmp_path / "killed", parallel=2)
        time.sleep(draw.uniform(0.2, 0.5))
        sweep.kill()
        sweep.join()
    waiting = [run for run in some if state_of(run, tmp_path / "killed").status == UNFINISHED]
    train(waiting, tmp_path / "killed", parallel=2)
    tables = [results.table(results.rows(some, tmp_path / name)) for name in ("undisturbed", "killed")]
    assert tables[0] == tables[1] and "2 of 2" in tables[0][-1]


def test_a_finished_run_is_judged_and_not_finished_before(tmp_path):
    (run,) = [dataclasses.replace(run, evaluate=("--task=sst2",)) for run in runs(dict(seed=0))]
    assert train([run], tmp_path)[-1].startswith(f"{run.name}: finished")
    (row,) = results.rows([run], tmp_path)
    assert (row.status, row.metrics["sst2/score"]) == (FINISHED, 0.5)
    assert "sst2/score |" in results.table([row])[0] and "stderr" not in results.table([row])[0]
    (tmp_path / run.name / run.scores).unlink()
    assert state_of(run, tmp_path) == State(UNFINISHED)
    train([run], tmp_path)
    assert state_of(dataclasses.replace(run, evaluate=("--task=rte",)), tmp_path) == State(UNFINISHED)
    (failing,) = [dataclasses.replace(run, evaluate=("--task=sst2", "--code=3"))]
    assert "failed" in train([failing], tmp_path)[-1] and state_of(failing, tmp_path).code == 3


def test_results_are_those_of_the_directories(tmp_path):
    some = runs(
        *[dict(seed=seed, train__steps=steps) for steps in (2, 4) for seed in (0, 1)],
        dict(seed=0, train__steps=5, fails=3),
    )
    train(some, tmp_path)
    found = results.write(some, tmp_path)
    assert (tmp_path / "table.md").read_text() == (
        "| train.steps | fails | train/loss      | validation/loss | finished |\n"
        "|-------------|-------|-----------------|-----------------|----------|\n"
        "| 2           |       | 1.0000 ± 0.7071 | 1.0000 ± 0.7071 | 2 of 2   |\n"
        "| 4           |       | 0.7500 ± 0.7071 | 0.7500 ± 0.7071 | 2 of 2   |\n"
        "| 5           | 3     |                 |                 | 0 of 1   |\n"
    )
    assert (found[2].costs["steps"], found[2].costs["flops"], found[2].costs["parameters"]) == (4, 400.0, 10)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0] == (
        "name,status,config,seed,train.steps,train/loss,validation/loss,fails,steps,seconds,parameters,trainable,flops"
    )
    assert len(lines) == 6 and lines[1] == "seed=0-steps=2,finished,configs/demo.py,0,2,0.5,0.5,,2,0.0,10,0,200.0"
    before = {name: (tmp_path / name).read_text() for name in ("results.csv", "results.jsonl", "table.md")}
    for name in before:
        (tmp_path / name).unlink()
    results.write(some, tmp_path)
    assert before == {name: (tmp_path / name).read_text() for name in before}
