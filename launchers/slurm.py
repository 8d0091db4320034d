"""A batch script for Slurm.

Directives as of slurm.schedmd.com/sbatch.html. Each process of the run has one GPU: under Slurm JAX takes the local
number of a task for the device that it may use (jax/_src/clusters/slurm_cluster.py). So every task must see all GPUs of
its node, and `--gpus-per-task`, which hides the others, must not be given.
"""

import dataclasses
import re
import shlex

from cloze.errors import ConfigError
from cloze.launchers.base import AGAIN, LAUNCHERS, Job, Launcher, Plan, line
from cloze.options import Name, option

_VALUE = re.compile(r"[\w.,:=@%/&|*\[\]()+-]*")  # what a directive holds without quotes
_TIME = re.compile(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2})?")


@LAUNCHERS.register("slurm")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm(Launcher):
    """One job with a task for each GPU, which queues itself again when it was stopped early."""

    nodes: int = option(1, "number of machines", least=1, most=65_536)
    gpus_per_node: int = option(
        1, "GPUs of each machine, each with a process; 0: one process on the CPU", least=0, most=64
    )
    gpu: Name = option("", "type of GPU as the cluster calls it, h100; empty: any")
    cpus_per_task: int = option(0, "CPU cores of each process; 0: as the cluster has it", least=0, most=4096)
    memory: Name = option("", "of each node, 200G; empty: as the cluster has it")
    time: Name = option("", "limit of one turn, DAYS-HOURS:MINUTES:SECONDS; empty: as the partition has it")
    partition: Name = option("", "empty: the cluster's default")
    account: Name = option("", "who pays; empty: your default")
    qos: Name = option("", "quality of service; empty: the default")
    constraint: Name = option("", "features of nodes; empty: any")
    restarts: int = option(20, "how often the job is queued again after exit code 75", least=0, most=10_000)

    @property
    def shares_disks(self) -> bool:
        return True

    @property
    def has_arrays(self) -> bool:
        return True

    def count_processes(self) -> int:
        return self.nodes * self._tasks

    @property
    def _tasks(self):
        """Of each node."""
        return max(1, self.gpus_per_node)

    def plan(self, job: Job) -> Plan:
        if not _TIME.fullmatch(self.time):
            raise ConfigError(
                f"job.time={self.time!r} must be MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS"
            )
        name = f"{job.name}.sbatch"
        directives = "".join(f"#SBATCH {directive}\n" for directive in self._directives(job))
        return Plan(
            files={name: f"#!/bin/bash\n{directives}\n{self._body(job)}"},
            submit=("sbatch", name),
            watch=line("squeue", "--me", f"--name={job.name}"),
            stop=line("scancel", f"--name={job.name}"),
        )

    def _directives(self, job):
        gpus = f"{self.gpu}:{self.gpus_per_node}" if self.gpu else self.gpus_per_node
        given = {
            "job-name": job.name,
            "nodes": self.nodes,
            "ntasks-per-node": self._tasks,
            "gpus-per-node": gpus if self.gpus_per_node else "",
            "cpus-per-task": self.cpus_per_task or "",
            "mem": self.memory,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "array": f"0-{job.array - 1}" if job.array else "",
            "output": "%x-%A_%a.log" if job.array else "%x-%j.log",
            "open-mode": "append",
            "signal": f"TERM@{self.grace}",
        }
        for name, value in given.items():
            if not _VALUE.fullmatch(str(value)):
                raise ConfigError(f"{value!r} for --{name} of sbatch has characters that a directive cannot hold")
        return [*(f"--{name}={value}" for name, value in given.items() if value != ""), "--requeue"]

    def _body(self, job):
        cpus = (
            f"export SRUN_CPUS_PER_TASK={self.cpus_per_task}  # srun does not inherit it\n"
            if self.cpus_per_task
            else ""
        )
        index = ' --index="$SLURM_ARRAY_TASK_ID"' if job.array else ""
        return f"""\
trap : TERM  # the processes of the run get the signal too; this script goes on when they have ended
cd -- {shlex.quote(job.folder)} || exit 2
{cpus}srun {line(*job.local)}{index}
code=$?
restarts=${{SLURM_RESTART_COUNT:-0}}
if [ "$code" -eq {AGAIN} ] && [ "$restarts" -lt {self.restarts} ]; then
  echo "The run has saved and is queued again: restart $((restarts + 1)) of at most {self.restarts}"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
