"""Tasks of SkyPilot: its own validator takes them, and the run finds the other processes."""

import pytest
import yaml

from cloze.errors import ConfigError
from tests.launchers.examples import ARGUMENTS, JOB, RECORD, TPUS, cases, commands, launcher, recorded, run
from tests.launchers.metadata import CURL

GPUS = {
    "one machine": (dict(accelerator="H100", gpus_per_node=8), 1, 1, 8),
    "several machines": (dict(accelerator="A100", nodes=4, infra="gcp/us-central1", spot=False), 1, 4, 1),
}
CASES = cases("skypilot", TPUS, GPUS)


def task(made, job=JOB):
    (text,) = made.plan(job).files.values()
    return yaml.safe_load(text)


def ran(made, tmp_path, **more):
    """The arguments of the command when a machine runs the task."""
    commands(tmp_path / "cloze-environment" / "bin", cloze=RECORD)
    environment = commands(tmp_path / "bin", curl=CURL) | {"RECORD": str(tmp_path / "argv"), "HOME": str(tmp_path)}
    done = run(["bash", "-c", task(made)["run"]], environment | more)
    assert done.returncode == 0, done.stderr
    return recorded(tmp_path / "argv")


@pytest.mark.parametrize("made, slices, hosts, chips", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_skypilot_takes_the_task(made, slices, hosts, chips):
    why = "needs SkyPilot, which is not among the extras: pip install skypilot"
    schemas = pytest.importorskip("sky.utils.schemas", reason=why)
    import sky
    from sky.utils import common_utils

    document = task(made)
    common_utils.validate_schema(document, schemas.get_task_schema(), "")
    del document["file_mounts"], document["workdir"]  # which would be looked for
    built = sky.Task.from_yaml_config(document)
    (resources,) = built.resources
    assert built.num_nodes == (1 if made.topology else hosts)
    assert resources.use_spot == made.spot and resources.job_recovery["recover_on_exit_codes"] == [75]
    assert list(resources.accelerators.values()) == [1 if made.topology else chips]


@pytest.mark.parametrize("made, slices, hosts, chips", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_task_recovers_from_75_alone(made, slices, hosts, chips):
    document = task(made)
    assert set(document) == {"name", "resources", "num_nodes", "workdir", "file_mounts", "setup", "run"}
    assert document["resources"]["job_recovery"] == {"recover_on_exit_codes": [75]}
    assert document["workdir"] == "/checkout"
    for part in ("setup", "run"):
        assert run(["bash", "-n", "-c", document[part]], {}).returncode == 0


def test_processes_find_each_other(tmp_path):
    machines = dict(SKYPILOT_NODE_IPS="10.0.0.7\n10.0.0.9", SKYPILOT_NUM_NODES="2", SKYPILOT_NODE_RANK="1")
    meeting = ("--coordinator=10.0.0.7:8482", "--num_processes=2", "--process_id=1")
    assert ran(launcher("skypilot", accelerator="H100", nodes=2), tmp_path, **machines) == (
        "train",
        *ARGUMENTS,
        *meeting,
    )
    assert ran(launcher("skypilot", accelerator="H100"), tmp_path) == ("train", *ARGUMENTS)
    vm = dict(
        WORKERS="a:b:10.0.0.3,a:b:10.0.0.4,a:b:10.0.0.5,a:b:10.0.0.6", NUMBER="2", SETTINGS="ACCELERATOR: 'v5p-32'"
    )
    meeting = ("--coordinator=10.0.0.3:8482", "--num_processes=4", "--process_id=2")
    tpu = launcher("skypilot", accelerator="v5p", topology="2x2x4")
    assert ran(tpu, tmp_path, **vm) == ("train", *ARGUMENTS, *meeting)


def test_what_skypilot_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="one slice for each job"):
        launcher("skypilot", accelerator="v5e", topology="4x4", slices=2).plan(JOB)
    with pytest.raises(ConfigError, match="TPUs on Kubernetes need job.backend=jobset"):
        launcher("skypilot", accelerator="v5e", topology="4x4", infra="k8s/mine").plan(JOB)
