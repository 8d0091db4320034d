"""JobSets: every field is one of the published definition, and the parts fit together."""

import dataclasses

import pytest
import yaml

from cloze import errors
from cloze.errors import ConfigError
from tests.launchers import schemas
from tests.launchers.examples import ARGUMENTS, GPUS, JOB, TPUS, cases, kubelet, launcher

CASES = cases("jobset", TPUS, GPUS)


def document(made, job=JOB):
    (text,) = made.plan(job).files.values()
    return yaml.safe_load(text)


def parts(jobset):
    """(replicated job, job, pod, container)"""
    (replicated,) = jobset["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return replicated, replicated["template"]["spec"], pod, container


@pytest.mark.parametrize("made, slices, hosts, chips", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_jobset_is_as_its_definition_says(made, slices, hosts, chips):
    jobset = document(made)
    assert schemas.faults(jobset, schemas.JOBSET) == []
    replicated, job, pod, container = parts(jobset)
    assert (replicated["replicas"], job["parallelism"], job["completions"]) == (slices, hosts, hosts)
    assert list(container["resources"]["limits"].values()) == [chips]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_check_finds_what_is_not_in_the_definition():
    jobset = document(CASES[0][1])
    parts(jobset)[1]["backofLimit"] = 0
    parts(jobset)[2]["containers"][0].pop("name")
    jobset["spec"]["failurePolicy"]["maxRestarts"] = "20"
    assert len(schemas.faults(jobset, schemas.JOBSET)) == 3


def test_final_exit_codes_fail_the_set_and_all_others_start_it_again():
    jobset = document(launcher("jobset", accelerator="v5e", topology="4x4", restarts=7, grace=300))
    _, job, pod, container = parts(jobset)
    final = [errors.ConfigError, errors.DataError, errors.DivergedError, errors.CheckpointError]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "In"
    assert rule["onExitCodes"]["values"] == [error.exit_code for error in final]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    (rule,) = jobset["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 7
    # Kubernetes takes a podFailurePolicy only with this, and a lost pod must fail its job, not be replaced alone.
    assert (pod["restartPolicy"], job["backoffLimit"], job["completionMode"]) == ("Never", 0, "Indexed")
    assert pod["terminationGracePeriodSeconds"] == 300


def test_processes_on_gpus_are_told_where_to_meet_and_those_on_tpus_are_not():
    gpus = parts(document(launcher("jobset", accelerator="nvidia-l4", nodes=4)))[3]["command"]
    assert kubelet(gpus, JOB_COMPLETION_INDEX="3") == (
        "cloze", "train", *ARGUMENTS,
        "--coordinator=bert-workers-0-0.bert:8482", "--num_processes=4", "--process_id=3",
    )  # fmt: skip
    for given in (dict(accelerator="v5p", topology="2x2x4"), dict(accelerator="nvidia-l4")):
        assert parts(document(launcher("jobset", **given)))[3]["command"] == ["cloze", "train", *ARGUMENTS]


def test_nodes_are_chosen_by_labels():
    made = launcher("jobset", accelerator="v6e", topology="2x4", chips_per_host=4, spot=True, queue="team", slices=2)
    jobset = document(made)
    replicated, job, pod, container = parts(jobset)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "2x4",
    }
    assert (replicated["replicas"], job["parallelism"]) == (2, 2)
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert {"key": "cloud.google.com/gke-spot", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    gpu = document(launcher("jobset", accelerator="nvidia-h100-80gb", gpus_per_node=8))
    assert parts(gpu)[2]["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert parts(gpu)[3]["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert "labels" not in gpu["metadata"]


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(accelerator="v5e", topology="4x4", nodes=2), "job.nodes=2 does not go with job.accelerator=v5e"),
        (dict(accelerator="nvidia-l4", slices=2), "job.slices=2 does not go with job.accelerator=nvidia-l4"),
        (dict(accelerator="v5lite", topology="4x4"), "'v5lite' is no TPU"),
        (dict(), "job.accelerator is required"),
        (dict(accelerator="v5e", topology="4x4", mount="mnt"), "job.mount=mnt must be a folder from the root"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        launcher("jobset", **given).plan(JOB)


def test_a_sweep_is_a_job_whose_pods_end_and_start_again_one_by_one():
    sweep = dataclasses.replace(JOB, array=12)
    jobset = document(launcher("jobset", accelerator="nvidia-l4", restarts=7), sweep)
    assert schemas.faults(jobset, schemas.JOBSET) == []
    _, job, _, container = parts(jobset)
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (12, 12, "Indexed")
    assert job["backoffLimitPerIndex"] == 7 and "backoffLimit" not in job  # with which one pod would fail all
    assert job["podFailurePolicy"]["rules"][0]["action"] == "FailIndex"
    assert jobset["spec"]["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["FailedIndexes"]
    assert kubelet(container["command"], JOB_COMPLETION_INDEX="3") == ("cloze", "train", *ARGUMENTS, "--index=3")
    with pytest.raises(ConfigError, match="a sweep runs on GPUs here"):
        document(launcher("jobset", accelerator="v6e", topology="1x1"), sweep)
