"""The command as a user meets it: what it refuses, prints, writes and runs."""

import pathlib
import subprocess
import sys

import pytest

from cloze import launch
from cloze.errors import ConfigError
from tests import verbs
from tests.launchers.examples import JOB, RECORD, commands, launcher, recorded, run

SMALL = ("--config=configs/bert_base.py:tiny", "--config.train.steps=10")
SHARED = ("--workdir=/mnt/cloze/runs/bert", "--config.data.cache_dir=/mnt/cloze/cache")
GKE = (
    "--job.backend=jobset", "--job.image=registry/cloze", "--job.claim=runs", "--job.accelerator=v5e",
    "--job.topology=4x4",
)  # fmt: skip
SWEEP = ("--job.backend=slurm", "--verb=sweep", "--sweep=configs/sweeps/mask_rate.py")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([*SMALL], "--job.backend is required: one of gcluster, jobset, skypilot, slurm, tpu_vm"),
        (["--job.nodes=0", "--job.backend=slurm", *SMALL], "job.nodes=0 must be at least 1"),
        (["--job.backend=slurm", "--job.claim=x", *SMALL], "job.claim is an option of jobset"),
        (["--job.backend=slurm", "--verb", "prepare", *SMALL], "write --verb=VALUE"),
        (["--job.backend=slurm", "--verb=eval", "--task=sst2"], "--workdir is required"),
        (
            [*GKE, "--verb=eval", "--task=sst2", "--workdir=/mnt/cloze/a,runs/b"],
            "--workdir=runs/b is lost",
        ),
        (
            [*SWEEP, "--job.nodes=2", "--workdir=runs/x"],
            "sweep runs in one process",
        ),
        (["--job.backend=slurm", *SMALL, "--config.model.heads=7"], "model.width=192 does not divide"),
        (["--job.backend=slurm", *SMALL, "--num_processes=2"], "--num_processes is what the job finds itself"),
        (["--job.backend=slurm", "--job.name=My Run", *SMALL], "job.name='My Run' must be at most 38"),
        ([*GKE, *SMALL, "--workdir=runs/x"], "--workdir=runs/x is lost with the machines"),
        ([*GKE, *SMALL, SHARED[0]], "--config.data.cache_dir=~/.cache/cloze is lost"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(arguments, words):
    before = set(pathlib.Path("runs").rglob("*"))
    done = verbs.run("launch", *arguments)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and set(pathlib.Path("runs").rglob("*")) == before


def test_a_dry_run_prints_the_files_and_the_commands_and_writes_nothing(tmp_path):
    arguments = [*SMALL, f"--workdir={tmp_path}/run", "--job.backend=slurm", "--job.nodes=2", "--dry_run"]
    done = verbs.run("launch", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"== {tmp_path}/run/launch/run.sbatch\n#!/bin/bash\n#SBATCH --job-name=run\n" in done.stdout
    assert f"srun {sys.executable} train.py {' '.join(arguments[:3])}\n" in done.stdout
    assert "sbatch run.sbatch" in done.stdout and "scancel --name=run" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_another_verb_has_its_own_flags():
    done = verbs.run("launch", "--job.backend=slurm", "--verb=eval", "--workdir=runs/x", "--task=a,b", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert f"srun {sys.executable} eval.py --workdir=runs/x --task=a,b\n" in done.stdout
    assert "--job-name=eval-x" in done.stdout


def test_the_runs_of_a_sweep_are_tasks_of_one_job():
    sweep = "--sweep=configs/sweeps/mask_rate.py"
    done = verbs.run("launch", "--job.backend=slurm", "--verb=sweep", sweep, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --job-name=sweep-mask-rate\n" in done.stdout and "#SBATCH --array=0-5\n" in done.stdout
    assert f'srun {sys.executable} sweep.py {sweep} --index="$SLURM_ARRAY_TASK_ID"\n' in done.stdout
    done = verbs.run("launch", *GKE, "--verb=sweep", sweep, "--workdir=/mnt/cloze/runs/sweep")
    assert done.returncode == 2 and "--config.data.cache_dir=~/.cache/cloze is lost" in done.stderr, done.stderr
    done = verbs.run("launch", "--job.backend=tpu_vm", "--verb=sweep", sweep, "--workdir=/mnt/cloze/runs/sweep")
    assert done.returncode == 2 and "use --job.backend=slurm or jobset" in done.stderr, done.stderr


def test_options_are_described():
    done = verbs.run("launch", "--job.backend=tpu_vm", "--describe_job")
    assert done.returncode == 0 and "job.nfs = ''" in done.stdout and "job.partition" not in done.stdout


def test_a_config_file_of_the_users_own_must_be_there_where_the_job_runs(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("from cloze.configs.bert_base import get_config  # noqa: F401\n")
    done = verbs.run("launch", *GKE, f"--config={own}:tiny", *SHARED, "--dry_run")
    assert done.returncode == 0 and f"Note: {own} must be where the job runs" in done.stdout, done.stderr


def test_a_job_is_submitted_and_goes_on_until_it_is_done(tmp_path):
    """A Slurm of one machine: sbatch runs the script, again as often as it is asked to."""
    environment = commands(
        tmp_path / "bin",
        sbatch=f'export SLURM_JOB_ID=1; echo "$PWD" > {tmp_path}/there\n'
        f'for ((i = 0; i == 0 || $(wc -l < {tmp_path}/asked) == i; i++)); do SLURM_RESTART_COUNT=$i bash "$1"; done',
        srun=f"{RECORD}; echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -gt 2 ] || exit 75",
        scontrol=f"echo $* >> {tmp_path}/asked",
    ) | {"RECORD": str(tmp_path / "argv")}
    (tmp_path / "asked").touch()
    given = [*SMALL, f"--workdir={tmp_path}/a run", "--config.data.source=text:$(HOME)/*.txt"]
    command = [sys.executable, "launch.py", "--job.backend=slurm", *given]
    done = run(command, environment, cwd=verbs.ROOT)
    assert done.returncode == 0, done.stderr
    assert recorded(tmp_path / "argv") == (sys.executable, "train.py", *given)
    assert (tmp_path / "runs").read_text() == "x\n" * 3 and (tmp_path / "asked").read_text() == "requeue 1\n" * 2
    assert (tmp_path / "there").read_text().strip() == f"{tmp_path}/a run/launch"


@pytest.mark.parametrize("sbatch, words", [(None, "there is no command sbatch"), ("exit 1", "ended with exit code 1")])
def test_a_job_that_is_not_taken_leaves_its_files_and_says_how_to_submit_them(sbatch, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    folder = tmp_path / "a run" / "launch"
    commands(tmp_path / "bin", **({"sbatch": sbatch} if sbatch else {}))
    with pytest.raises(ConfigError, match=words) as caught:
        launch.submit(launcher("slurm").plan(JOB), folder)
    by_hand = str(caught.value).splitlines()[-1].strip()
    commands(tmp_path / "bin", sbatch=f'[ -f "$1" ] && echo "$1" > "{tmp_path}/taken"')
    assert subprocess.run(["/bin/bash", "-c", by_hand]).returncode == 0
    assert (tmp_path / "taken").read_text() == "bert.sbatch\n"
