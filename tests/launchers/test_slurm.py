"""Batch scripts: directives that sbatch can read, and what the script does when it is run."""

import dataclasses
import re

import pytest

from cloze.errors import ConfigError
from tests.launchers.examples import JOB, RECORD, commands, launcher, recorded, run

GRAMMAR = {  # values of directives, as slurm.schedmd.com/sbatch.html has them
    "job-name": r"[\w-]+",
    "nodes": r"[1-9]\d*",
    "ntasks-per-node": r"[1-9]\d*",
    "gpus-per-node": r"(\w+:)?[1-9]\d*",
    "cpus-per-task": r"[1-9]\d*",
    "mem": r"\d+[KMGT]?",
    "time": r"\d+|\d+:\d+(:\d+)?|\d+-\d+(:\d+){0,2}",
    "partition": r"[\w,-]+",
    "account": r"[\w-]+",
    "qos": r"[\w-]+",
    "constraint": r"[\w&|*\[\],-]+",
    "output": r"[\w%./-]+",
    "array": r"0-\d+",
    "open-mode": "append|truncate",
    "signal": r"[BR:]*(\d+|[A-Z]+\d?)@\d{1,5}",
    "requeue": "",
}
GIVEN = {
    "one process": (dict(gpus_per_node=0), 1, None),
    "one machine": (dict(gpus_per_node=4), 4, "4"),
    "several machines": (
        dict(nodes=2, gpus_per_node=8, gpu="h100", cpus_per_task=12, memory="200G", time="1-12:00:00", partition="long",
             account="lab", qos="high", constraint="nvlink&ib", grace=300, restarts=2),
        8,
        "h100:8",
    ),
}  # fmt: skip


def script(**given):
    (text,) = launcher("slurm", **given).plan(JOB).files.values()
    return text


def directives(text):
    """{name: value} of a script, of which all come before the first command."""
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    commands_at = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[commands_at:])
    found = [re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(.*))?", line) for line in lines[1:commands_at] if line]
    assert all(found) and len({match[1] for match in found}) == len(found)
    return {match[1]: match[2] or "" for match in found}


@pytest.mark.parametrize("case", GIVEN)
def test_directives_are_what_sbatch_reads(case, tmp_path):
    given, tasks, gpus = GIVEN[case]
    text = script(**given)
    found = directives(text)
    for name, value in found.items():
        assert re.fullmatch(GRAMMAR[name], value), (name, value)
    # JAX gives each task one device, and must see all of its node.
    assert found["ntasks-per-node"] == str(tasks) and found.get("gpus-per-node") == gpus
    assert "gpus-per-task" not in text
    assert found["open-mode"] == "append" and "requeue" in found
    assert found["signal"] == f"TERM@{given.get('grace', 120)}"
    (tmp_path / "script").write_text(text)
    assert run(["bash", "-n", tmp_path / "script"], {}).returncode == 0


def test_values_that_a_directive_cannot_hold_are_refused():
    with pytest.raises(ConfigError, match="--partition of sbatch has characters"):
        script(partition="long #SBATCH")
    with pytest.raises(ConfigError, match="job.time='two days' must be"):
        script(time="two days")


@pytest.mark.parametrize(
    "code, restarts, again",
    [
        (0, "", False),
        (2, "", False),
        (5, "1", False),
        (75, "", True),
        (75, "1", True),
        (75, "2", False),
        (137, "", False),
    ],
)
def test_a_run_that_has_saved_is_queued_again_and_no_other(code, restarts, again, tmp_path):
    environment = commands(
        tmp_path / "bin", srun=f"{RECORD}; exit {code}", scontrol='echo "$@" > "$ASKED"'
    ) | {"RECORD": str(tmp_path / "argv"), "ASKED": str(tmp_path / "asked"), "SLURM_JOB_ID": "17"}  # fmt: skip
    if restarts:
        environment["SLURM_RESTART_COUNT"] = restarts
    (tmp_path / "script").write_text(script(restarts=2))
    assert run(["bash", tmp_path / "script"], environment).returncode == code
    assert recorded(tmp_path / "argv") == JOB.local
    assert (tmp_path / "asked").exists() == again
    assert not again or (tmp_path / "asked").read_text() == "requeue 17\n"


def test_a_signal_to_the_script_does_not_keep_it_from_queueing_again(tmp_path):
    environment = commands(
        tmp_path / "bin", srun="kill -TERM $PPID; exit 75", scontrol=f"touch {tmp_path}/asked"
    ) | {"SLURM_JOB_ID": "17"}  # fmt: skip
    (tmp_path / "script").write_text(script())
    assert run(["bash", tmp_path / "script"], environment).returncode == 75
    assert (tmp_path / "asked").exists()


def test_a_job_begins_where_it_was_launched(tmp_path):
    folder = tmp_path / "a folder's"
    folder.mkdir()
    environment = commands(tmp_path / "bin", srun='pwd > "$RECORD"') | {"RECORD": str(tmp_path / "there")}
    (text,) = launcher("slurm").plan(dataclasses.replace(JOB, folder=str(folder))).files.values()
    assert run(["bash", "-c", text], environment).returncode == 0
    assert (tmp_path / "there").read_text().strip() == str(folder)


def test_a_sweep_is_an_array_of_which_each_task_has_its_run(tmp_path):
    environment = commands(tmp_path / "bin", srun=RECORD, scontrol="true")
    environment |= {"RECORD": str(tmp_path / "argv"), "SLURM_ARRAY_TASK_ID": "3"}
    (text,) = launcher("slurm", gpus_per_node=0).plan(dataclasses.replace(JOB, array=12)).files.values()
    found = directives(text)
    assert found["array"] == "0-11" and found["output"] == "%x-%A_%a.log"
    assert all(re.fullmatch(GRAMMAR[name], value) for name, value in found.items())
    (tmp_path / "script").write_text(text)
    assert run(["bash", tmp_path / "script"], environment).returncode == 0
    assert recorded(tmp_path / "argv") == (*JOB.local, "--index=3")
