"""What every verb does before it reads its flags."""

import os
import subprocess
import sys

import pytest

from cloze import cli
from tests import verbs


@pytest.mark.parametrize(
    "mode, tunables, expected",
    [
        ("always [madvise] never", "", "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.cpu.x86_shstk=on", "glibc.cpu.x86_shstk=on:glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", None),  # as the user says
        ("[always] madvise never", "", None),
        ("always madvise [never]", "", None),
        (None, "", None),  # another system
    ],
)
def test_a_verb_begins_anew_where_that_gives_it_huge_pages(mode, tunables, expected, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(cli, "PAGES", tmp_path / "enabled")
    if mode is not None:
        cli.PAGES.write_text(mode)
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-W", "ignore", "train.py", "--config=x"])
    monkeypatch.setattr(os, "execv", lambda *call: begun.append((*call, os.environ["GLIBC_TUNABLES"])))
    cli._take_huge_pages()
    program = sys.executable
    command = [program, "-W", "ignore", "train.py", "--config=x"]
    assert begun == ([] if expected is None else [(program, command, expected)])


@pytest.mark.parametrize(
    "verb, flag",
    [("train", "workdir"), ("eval", "workdir"), ("convert", "target"), ("train", "config.init.checkpoint")],
)
def test_a_bucket_is_refused_with_a_way_out(verb, flag):
    named = {"train": ["--config=configs/gpt2.py:tiny"], "eval": ["--task=sst2"], "convert": ["to_hf"]}[verb]
    arguments = [*named[:1], f"--{flag}=gs://bucket/run"]
    done = verbs.run(verb, *arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "gs://bucket/run" in done.stderr and "mount the bucket" in done.stderr


SRUN = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "a,b", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    "variables, label",
    [
        ({}, ""),
        ({**SRUN, "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, "[process 2 of 4] "),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, ""),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, "[process 1 of 2] "),
        ({"JOB_COMPLETION_INDEX": "3"}, "[process 3] "),
    ],
)
def test_lines_of_one_of_several_processes_are_numbered(variables, label, monkeypatch):
    for name in (*SRUN, "SLURM_NTASKS", "SLURM_PROCID", "TPU_WORKER_HOSTNAMES", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.process_label() == label


@pytest.mark.parametrize("verb", ["generate", "analyze"])  # they import JAX at their top
def test_libraries_are_quiet_from_the_first_import_on(verb):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    program = f"import cloze.{verb}, os, sys; print('jax' in sys.modules, os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=verbs.ROOT
    )
    assert done.stdout.split() == ["True", "3"], done.stderr
