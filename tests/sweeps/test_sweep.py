"""The command as a user meets it, with train.py in its processes."""

import json
import random
from subprocess import TimeoutExpired

import pytest

from cloze.errors import ConfigError
from cloze.sweeps import planned, results
from cloze.sweeps.processes import FINISHED, UNFINISHED, state_of
from cloze.training import held_out
from tests import verbs
from tests.faults import CHAOS
from tests.training import tiny_run

KILLS = 20  # of `make chaos`


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep")
    tiny_run.write_text(path / "text")
    return path


def sweep_file(root, **axes):
    """A sweep of a tiny run over some axes."""
    overrides = dict(argument.removeprefix("--config.").split("=", 1) for argument in verbs.small(root)[1:])
    (root / "tiny.py").write_text(
        "from cloze.sweeps import product\n\n\ndef sweep():\n"
        f"    return product({overrides!r}, config='configs/bert_base.py:tiny', **{axes!r})\n"
    )
    return root / "tiny.py"


def test_a_sweep_trains_reports_and_skips_what_is_finished(root, tmp_path):
    command = [f"--sweep={sweep_file(root)}", f"--workdir={tmp_path}"]
    done = verbs.run("sweep", *command)
    assert done.returncode == 0 and "1 run in" in done.stdout, done.stdout + done.stderr
    (row,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    lines = list(map(json.loads, (tmp_path / "bert_base-tiny" / "metrics.jsonl").read_text().splitlines()))
    (validation,) = (line for line in lines if line["split"] == "validation")
    assert (tmp_path / "bert_base-tiny" / "report.html").is_file()
    assert (row["name"], row["status"], row["steps"]) == ("bert_base-tiny", "finished", 4)
    assert row["validation/loss"] == validation["loss"] and row["parameters"] > 1e4 and row["seconds"] > 0
    assert row["flops"] == sum(line["flops"] for line in lines if line["split"] == "train") > 4e6
    assert f"{validation['loss']:.4f}" in done.stdout and (tmp_path / "table.md").read_text() in done.stdout

    again = held_out.validate(tmp_path / "bert_base-tiny", {"objective.mask_rate": 0.15}, report=lambda line: None)
    assert again["loss"] == pytest.approx(validation["loss"], rel=1e-4)
    other = held_out.validate(tmp_path / "bert_base-tiny", {"objective.mask_rate": 0.5}, report=lambda line: None)
    assert other["mlm"] != again["mlm"]
    with pytest.raises(ConfigError, match="no option objective.mask_rat here; did you mean 'mask_rate'"):
        held_out.validate(tmp_path / "bert_base-tiny", {"objective.mask_rat": 1})

    kept = {name: (tmp_path / name).read_text() for name in ("results.csv", "results.jsonl", "table.md")}
    for name in kept:
        (tmp_path / name).unlink()
    again = verbs.run("sweep", f"--workdir={tmp_path}", "--report")
    assert again.returncode == 0, again.stderr
    assert {name: (tmp_path / name).read_text() for name in kept} == kept
    done = verbs.run("sweep", *command)
    assert done.returncode == 0 and "1 finished" in done.stdout and "started" not in done.stdout
    sweep_file(root, **{"optimizer.beta2": 0.9})  # the run has the same name, and may not be taken for this one
    (run,) = planned.load(command[0].removeprefix("--sweep="))
    config = planned.checked([run], tmp_path)[run.name]
    assert state_of(run, tmp_path).status == FINISHED
    assert state_of(run, tmp_path, config).status == UNFINISHED


def test_killed_at_any_time_a_sweep_ends_with_the_table_of_one_that_was_not(root, tmp_path):
    if not CHAOS:
        pytest.skip("a part of `make chaos`; test_processes.py does it with short processes")
    file, draw = sweep_file(root, seed=[0, 1]), random.Random(0)
    for run in planned.load(str(file)):
        done = verbs.run("train", *run.flags(tmp_path), f"--workdir={tmp_path / 'undisturbed' / run.name}")
        assert done.returncode == 0, done.stderr
    expected = results.table(results.write(planned.load(str(file)), tmp_path / "undisturbed"))
    for number in range(KILLS // 4):
        command = [f"--sweep={file}", f"--workdir={tmp_path / str(number)}", "--parallel=2"]
        for _ in range(4):
            sweep = verbs.start("sweep", *command)
            try:
                sweep.communicate(timeout=draw.uniform(1, 15))
            except TimeoutExpired:
                sweep.kill()
                sweep.communicate()
        done = verbs.run("sweep", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / str(number) / "table.md").read_text() == "\n".join(expected) + "\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--sweep=FILE is required"),
        (["--report"], "--report needs --workdir"),
        (["--sweep=configs/sweeps/mask.py"], "did you mean 'configs/sweeps/mask_rate.py'"),
        (["--workdir=.", "--report"], "holds no sweep"),
        (["--sweep=configs/sweeps/mask_rate.py", "--index=99"], "the first of which is 0"),
    ],
)
def test_bad_usage_ends_with_2(arguments, words):
    done = verbs.run("sweep", *arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_dry_run_prints_every_run_and_leaves_nothing(root, tmp_path):
    file, workdir = sweep_file(root, seed=[0, 1]), tmp_path / "sweep"
    done = verbs.run("sweep", f"--sweep={file}", f"--workdir={workdir}", "--dry_run")
    assert done.returncode == 0 and not workdir.exists(), done.stderr
    assert f"{workdir / 'seed=1'}\n    --config=configs/bert_base.py:tiny" in done.stdout
    assert "--config.seed=1" in done.stdout and done.stdout.endswith("2 runs\n")
