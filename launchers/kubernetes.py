"""What the launchers for Kubernetes share: YAML, and commands that the kubelet leaves as they are."""

import dataclasses
from typing import Any

import yaml

from cloze.launchers.base import PORT, Accelerated, Machines
from cloze.options import Name, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queued(Accelerated):
    """The options of launchers that make a JobSet."""

    image: Name = option(
        "", "container image in which Cloze is installed, with its registry; launchers/Dockerfile builds one"
    )
    queue: Name = option("", "Kueue's LocalQueue; empty: none, with gcluster the one that the toolkit finds")
    restarts: int = option(20, "how often the job starts again after exit code 75 or a lost node", least=0, most=10_000)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such."""


def _text(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dump(document: dict[str, Any]) -> str:
    """A document as YAML, its keys in the order in which they are given."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=float("inf"))


def literal(text: str) -> str:
    """A word of a container's command that arrives as `text`.

    The kubelet replaces $(NAME) by a variable of the environment, and $$ by $
    (kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables).
    """
    return text.replace("$", "$$")


def processes(machines: Machines, name: str, replicated: str, index: str) -> list[str]:
    """Flags by which the processes of a JobSet on GPUs meet; on TPUs JAX finds the others itself.

    Args:
        machines: what the job runs on.
        name: of the JobSet.
        replicated: of its replicated job, whose only job has one pod for each process.
        index: what stands for the number of a pod in its job.
    """
    if machines.tpu or machines.processes == 1:
        return []
    first = f"{name}-{replicated}-0-0.{name}"
    return [f"--coordinator={first}:{PORT}", f"--num_processes={machines.processes}", f"--process_id={index}"]
