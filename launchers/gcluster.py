"""A job on a cluster that Google's Cluster Toolkit has made, through `gcluster job submit`.

Flags as of docs.cloud.google.com/cluster-toolkit/docs/reference/gcluster-job-submit. The toolkit calls it experimental.
"""

import dataclasses
import shlex

from cloze.errors import ConfigError
from cloze.launchers.base import AGAIN, LAUNCHERS, Job, Plan, line
from cloze.launchers.kubernetes import Queued, literal, processes
from cloze.options import Name, option

_REPLICATED = "main-job"  # as the toolkit calls it
# 137 and 143 are what a pod ends with when its node is taken away: killed, or stopped before it could save.
_RESTART = (AGAIN, 137, 143)


@LAUNCHERS.register("gcluster")
@dataclasses.dataclass(frozen=True, kw_only=True)
class GCluster(Queued):
    """A script with one command, from which the toolkit makes a JobSet queued by Kueue."""

    cluster: Name = option("", "name of the GKE cluster")
    location: Name = option("", "its region or zone")
    project: Name = option("", "Google Cloud project; empty: that of gcloud's configuration")
    storage: Name = option("", "shared storage: a PersistentVolumeClaim, or gs://BUCKET")
    separator: str = option(
        ":", "between the parts of --mount; newer versions of the toolkit take ';'", choices=(":", ";")
    )
    priority: str = option("medium", "in the queue", choices=("very-low", "low", "medium", "high", "very-high"))

    def plan(self, job: Job) -> Plan:
        for name in ("cluster", "location", "image"):
            if not getattr(self, name):
                raise ConfigError(f"job.{name} is required for job.backend=gcluster")
        self.check_places(job, "storage", self.storage)
        where = [f"--cluster={self.cluster}", f"--location={self.location}"]
        where += [f"--project={self.project}"] if self.project else []
        flags = [*where, *self._flags(job)]
        text = "#!/bin/bash\nexec gcluster job submit"
        text += "".join(f" \\\n  {shlex.quote(flag)}" for flag in flags) + "\n"
        return Plan(
            files={f"{job.name}.sh": text},
            submit=("bash", f"{job.name}.sh"),
            watch=line("gcluster", "job", "logs", job.name, *where),
            stop=line("gcluster", "job", "cancel", job.name, *where),
        )

    def _flags(self, job):
        machines, between = self.machines(), self.separator
        flags = [f"--name={job.name}", f"--image={self.image}", f"--command={self._command(job, machines)}"]
        if machines.tpu:
            flags += [f"--compute-type={machines.tpu.accelerator_type}", f"--topology={machines.tpu.topology}"]
            flags += [f"--num-slices={machines.groups}"]
            # Two containers on a host of TPU7x would be two processes; a run has one on each host.
            flags += ["--gke-disable-parallel-containers"] if machines.tpu.name == "tpu7x" else []
        else:
            flags += [f"--compute-type={machines.gpu}", f"--num-nodes={machines.hosts}"]
        flags += [f"--mount={between.join([self.storage, self.mount, 'rw'])}", f"--priority={self.priority}"]
        flags += [f"--queue={self.queue}"] if self.queue else []
        flags += [f"--restarts={self.restarts}", f"--restart-on-exit-codes={','.join(map(str, _RESTART))}"]
        return [*flags, f"--grace-period={self.grace}s"]

    def _command(self, job, machines):
        """A line for `bash -c` in the container, which the kubelet has read before."""
        meeting = processes(machines, job.name, _REPLICATED, "$JOB_COMPLETION_INDEX")
        return literal(" ".join(["exec", line(*job.installed), *meeting]))
