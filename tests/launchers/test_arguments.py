"""Whatever an argument holds, the verb gets it as it was given."""

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.launchers.examples import RECORD, commands, kubelet, launcher, recorded, run, with_argument

# A process cannot be given the character 0, and Python refuses halves of surrogates before anything is written.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SHELL = st.text("$(){}'\"\\`!*?[]~#&|;<> \t\n\r%=-:@HOMEpath\x85\u2028\ufeff", max_size=20)
HARD = ["$(HOME)", "$HOME $$ `id` 'a' \"b\"", "a\nb\r\n c", "- x: [1, 2]", "%j #c \\", "text:*.txt=0.2,é \U0001f600"]


def examples(function):
    for text in HARD:
        function = example(text)(function)
    check = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return check(given(TEXTS | SHELL)(function))


@pytest.fixture
def machine(tmp_path):
    """(environment, file): where `cloze`, `srun` and `gcluster` are called, and where their arguments are kept."""
    commands(tmp_path / "cloze-environment" / "bin", cloze=RECORD)
    environment = commands(tmp_path / "bin", cloze=RECORD, srun=RECORD, gcluster=RECORD)
    return environment | {"RECORD": str(tmp_path / "argv"), "HOME": str(tmp_path)}, tmp_path / "argv"


def ran(text, machine, *arguments):
    """The arguments that a script has called a command with."""
    environment, kept = machine
    kept.unlink(missing_ok=True)
    run(["bash", "-c", text, "bash", *arguments], environment)
    return recorded(kept)


@examples
def test_through_a_batch_script(machine, value):
    job = with_argument(value)
    (text,) = launcher("slurm").plan(job).files.values()
    assert ran(text, machine) == job.local


@examples
def test_through_a_jobset(value):
    job = with_argument(value)
    (text,) = launcher("jobset", accelerator="v5e", topology="4x4").plan(job).files.values()
    (replicated,) = yaml.safe_load(text)["spec"]["replicatedJobs"]
    (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert kubelet(container["command"], HOME="/root") == job.installed


@examples
def test_through_the_toolkit(machine, value):
    job = with_argument(value)
    (text,) = launcher("gcluster", accelerator="v5e", topology="4x4").plan(job).files.values()
    (command,) = [flag for flag in ran(text, machine) if flag.startswith("--command=")]
    (line,) = kubelet([command.removeprefix("--command=")], HOME="/root")
    assert ran(line, machine) == job.installed[1:]


@examples
def test_through_a_task_of_skypilot(machine, value):
    job = with_argument(value)
    (text,) = launcher("skypilot", accelerator="H100").plan(job).files.values()
    assert ran(yaml.safe_load(text)["run"], machine) == job.installed[1:]


@examples
def test_through_a_host_of_tpus(machine, value):
    job = with_argument(value)
    text = launcher("tpu_vm", accelerator="v5e", topology="2x2").plan(job).files["bert-host.sh"]
    assert ran(text, machine, "run") == job.installed[1:]
