"""A managed job of SkyPilot, which finds machines in any cloud and starts the job again when they are taken away.

Fields as of docs.skypilot.co/en/latest/reference/yaml-spec.html.
"""

import dataclasses

from cloze.errors import ConfigError
from cloze.launchers import hosts, tpus
from cloze.launchers.base import AGAIN, LAUNCHERS, PORT, Accelerated, Job, Plan, comment, line
from cloze.launchers.kubernetes import dump
from cloze.options import Name, Path, option


@LAUNCHERS.register("skypilot")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SkyPilot(Accelerated):
    """A task that copies the checkout, installs it, and runs the verb on every machine."""

    source: Path = option("", "checkout of Cloze that is copied to the machines; empty: the one that runs this command")
    bucket: Name = option("", "shared storage: gs://BUCKET, s3://BUCKET and so on")
    infra: Name = option("", "where: gcp, gcp/us-central2, k8s/CONTEXT; empty: SkyPilot finds the cheapest")
    spot: bool = option(True, "take machines that are cheaper and may be taken away at any time")
    python: Name = option("3.11", "version of Python for the machines")

    def find_slice(self) -> tpus.Slice:
        if self.slices > 1:
            raise ConfigError("job.slices: SkyPilot has one slice for each job; use job.backend=jobset or tpu_vm")
        if self.infra.partition("/")[0] in ("k8s", "kubernetes"):
            raise ConfigError(f"job.infra={self.infra}: TPUs on Kubernetes need job.backend=jobset or gcluster")
        return tpus.find_vm(self.accelerator, self.topology)

    def plan(self, job: Job) -> Plan:
        self.check_places(job, "bucket", self.bucket)
        machines, name = self.machines(), f"{job.name}.yaml"
        resources = {"infra": self.infra} if self.infra else {}
        if machines.tpu:
            resources["accelerators"] = f"tpu-{machines.tpu.accelerator_type}:1"
            resources["accelerator_args"] = {"runtime_version": machines.tpu.generation.runtime}
        else:
            resources["accelerators"] = f"{machines.gpu}:{machines.chips}"
        resources |= {"use_spot": self.spot, "job_recovery": {"recover_on_exit_codes": [AGAIN]}}
        document = {
            "name": job.name,
            "resources": resources,
            "num_nodes": 1 if machines.tpu else machines.hosts,
            "workdir": self.source or job.checkout,
            "file_mounts": {self.mount: {"source": self.bucket, "mode": "MOUNT"}},
            "setup": "set -e\n" + hosts.install(self.python, "tpu" if machines.tpu else "gpu"),
            "run": self._run(job, machines),
        }
        submit = ("sky", "jobs", "launch", "--yes", "--detach-run", name)
        return Plan(
            files={name: comment(f"Submit with: {line(*submit)}") + dump(document)},
            submit=submit,
            watch=line("sky", "jobs", "logs", "--name", job.name),
            stop=line("sky", "jobs", "cancel", "--name", job.name),
        )

    def _run(self, job, machines):
        command = f'exec "{hosts.ENVIRONMENT}/bin/cloze" {line(*job.installed[1:])}'
        if machines.processes == 1:
            return f"{command}\n"
        if machines.tpu:
            return f"{hosts.VARIABLES}{command} {hosts.MEETING}\n"
        first = 'first=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")\n'
        meeting = f'--coordinator="$first:{PORT}" --num_processes="$SKYPILOT_NUM_NODES"'
        return f'{first}{command} {meeting} --process_id="$SKYPILOT_NODE_RANK"\n'
