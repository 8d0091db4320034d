"""Commands for the Cluster Toolkit: flags that it has, and the command that its containers get."""

import shlex

import pytest

from cloze.errors import ConfigError
from tests.launchers.examples import (
    ARGUMENTS,
    GPUS,
    JOB,
    RECORD,
    TPUS,
    cases,
    commands,
    kubelet,
    launcher,
    recorded,
    run,
)

# Flags of cmd/job/job.go and submit.go of GoogleCloudPlatform/cluster-toolkit.
FLAGS = """base-image build-context cluster command compute-type dry-run-out gke-disable-parallel-containers
gke-scheduler gke-ttl-after-finished grace-period image location mount name num-nodes num-slices placement-policy
priority project queue restart-on-exit-codes restarts service-account topology""".split()
CASES = cases("gcluster", TPUS, GPUS)


def submitted(made, tmp_path, job=JOB):
    """{flag: value} that the toolkit gets when the script is run."""
    environment = commands(tmp_path / "bin", gcluster=RECORD) | {"RECORD": str(tmp_path / "argv")}
    plan = made.plan(job)
    for name, text in plan.files.items():
        (tmp_path / name).write_text(text)
    assert run(plan.submit, environment, cwd=tmp_path).returncode == 0
    job_word, submit_word, *flags = recorded(tmp_path / "argv")
    assert (job_word, submit_word) == ("job", "submit")
    return {flag.partition("=")[0].removeprefix("--"): flag.partition("=")[2] for flag in flags}


@pytest.mark.parametrize("made, slices, hosts, chips", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_job_is_submitted_with_flags_of_the_toolkit(made, slices, hosts, chips, tmp_path):
    flags = submitted(made, tmp_path)
    assert set(flags) <= set(FLAGS)
    assert {"name", "command", "compute-type", "cluster", "location", "image"} <= set(flags)
    assert flags["restart-on-exit-codes"].split(",")[0] == "75" and flags["restarts"] == "20"
    assert flags["grace-period"] == "120s" and flags["mount"] == "runs:/mnt/cloze:rw"
    if made.topology:  # the toolkit counts the hosts of a slice itself, and refuses to be told
        assert "num-nodes" not in flags and flags["topology"] == made.topology and flags["num-slices"] == str(slices)
    else:
        assert flags["num-nodes"] == str(hosts)


def test_the_command_arrives_through_the_kubelet_and_bash(tmp_path):
    flags = submitted(launcher("gcluster", accelerator="nvidia-l4", nodes=2, separator=";"), tmp_path)
    (command,) = kubelet([flags["command"]], JOB_COMPLETION_INDEX="wrong")
    environment = commands(tmp_path / "bin", cloze=RECORD) | {
        "RECORD": str(tmp_path / "argv"),
        "JOB_COMPLETION_INDEX": "1",
    }
    assert run(["bash", "-c", command], environment).returncode == 0
    meeting = ("--coordinator=bert-main-job-0-0.bert:8482", "--num_processes=2", "--process_id=1")
    assert recorded(tmp_path / "argv") == ("train", *ARGUMENTS, *meeting)
    assert flags["mount"] == "runs;/mnt/cloze;rw"


def test_a_host_of_tpu7x_has_one_process(tmp_path):
    flags = submitted(launcher("gcluster", accelerator="tpu7x", topology="4x4x4"), tmp_path)
    assert "gke-disable-parallel-containers" in flags and flags["compute-type"] == "tpu7x-128"


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="job.cluster is required"):
        launcher("gcluster", accelerator="nvidia-l4").__class__(accelerator="nvidia-l4").plan(JOB)


def test_watching_and_stopping_name_the_cluster():
    plan = launcher("gcluster", accelerator="nvidia-l4").plan(JOB)
    for line, verb in ((plan.watch, "logs"), (plan.stop, "cancel")):
        assert shlex.split(line) == ["gcluster", "job", verb, "bert", "--cluster=pool", "--location=us-central1"]
